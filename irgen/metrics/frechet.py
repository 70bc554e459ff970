"""Fréchet distance between feature sets, as FID uses it (Heusel et al., arXiv 1706.08500, equation 6).

    d^2 = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1^1/2 S2 S1^1/2)^1/2)

Statistics are fp64 always: in fp32 FID was 0.58 off at 2048 dimensions. The product S1 S2 is not symmetric, so its
`eigvalsh` would be wrong; with S1 = F F^T, the product F^T S2 F is symmetric and has the same eigenvalues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from irgen.errors import IrgenError

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of a feature set; `a + b` are those of both sets together.

    Attributes:
        count: features seen, N.
        mean: float64 [d].
        scatter: float64 [d, d], sum of outer products of the features' deviations from the mean.
    """

    count: int
    mean: F64
    scatter: F64

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Self:
        """Take the statistics of features [N, d], N >= 1.

        Raises:
            IrgenError: no row, or a feature is not finite.
        """
        rows = checked(features)
        if len(rows) == 0:
            raise _too_few(0)
        mean = rows.mean(axis=0)
        deviations = rows - mean
        return cls(len(rows), mean, deviations.T @ deviations)

    @classmethod
    def gather(cls, batches: Iterable[NDArray[np.floating]]) -> Self:
        """Take the statistics of features that come batch by batch, in memory of one batch.

        Raises:
            IrgenError: no batch at all, or a feature is not finite.
        """
        total: Self | None = None
        for batch in batches:
            part = cls.of(batch)
            total = part if total is None else total + part
        if total is None:
            raise _too_few(0)
        return total

    def __add__(self, other: Self) -> Self:
        """Merge two sets' statistics (Chan, Golub and LeVeque 1979, equation 2.1)."""
        count = self.count + other.count
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(step, step) * (self.count * other.count / count)
        return type(self)(count, self.mean + step * (other.count / count), scatter)

    @cached_property
    def covariance(self) -> F64:
        """Unbiased covariance, float64 [d, d].

        Raises:
            IrgenError: of fewer than two features there is none.
        """
        if self.count < 2:
            raise _too_few(self.count)
        return self.scatter / (self.count - 1)

    @cached_property
    def factor(self) -> F64:
        """A matrix F with F F^T = S, float64 [d, d]; kept, so that one real set serves many comparisons."""
        try:
            triangle: F64 = np.linalg.cholesky(self.covariance).astype(np.float64, copy=False)
            return triangle
        except np.linalg.LinAlgError:
            pass  # Of dependent features, or no more of them than dimensions: only the slower way bears zeros.
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(values.clip(min=0))


def frechet_distance(real: Statistics, generated: Statistics) -> float:
    """Return the squared Fréchet distance d^2 >= 0 of two Gaussians; `real.factor` is made once.

    Raises:
        IrgenError: one set has fewer than two features.
    """
    difference = real.mean - generated.mean
    eigenvalues = np.linalg.eigvalsh(_congruent(real.factor, generated.covariance), UPLO="L")
    overlap = np.sqrt(eigenvalues.clip(min=0)).sum()
    return _distance(difference, np.trace(real.covariance) + np.trace(generated.covariance), overlap)


def frechet_distances(real: NDArray[np.floating], others: Mapping[str, NDArray[np.floating]]) -> dict[str, float]:
    """Return d^2 >= 0 of each feature set [M, d] to the real one [N, d], by name.

    Raises:
        IrgenError: fewer than two features in a set, or a feature that is not finite.
    """
    everything = {name: np.arange(len(features)) for name, features in others.items()}
    return Distances(real, others).at(np.arange(len(real)), everything)


class Distances:
    """Distances between a real feature set and others, and between resamples of them, much of the work done once.

    Where a resample has fewer distinct rows than features have dimensions, no [d, d] matrix is made. For centred X and
    Y, tr((S1^1/2 S2 S1^1/2)^1/2) is the nuclear norm of X Y^T over sqrt((N - 1)(M - 1)), because S1^1/2 S2^1/2 and
    X Y^T have the same singular values up to that factor. A row drawn c times is one row scaled by sqrt(c), and
    centring X Y^T needs only its own weighted means, so that every resample is cut out of one product.

    Args:
        real: float [N, d].
        others: of each set, by name, float [M, d].

    Raises:
        IrgenError: a feature that is not finite.
    """

    def __init__(self, real: NDArray[np.floating], others: Mapping[str, NDArray[np.floating]]) -> None:
        rows = checked(real)
        if len(rows) == 0:
            raise _too_few(0)
        # A common shift changes no distance, but means far from zero would cost digits.
        centre = rows.mean(axis=0)
        self._real = rows - centre
        self._others = {name: checked(features) - centre for name, features in others.items()}
        self._products: dict[str, F64] = {}

    def at(self, real_rows: NDArray[np.int64], rows: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
        """Return d^2 >= 0 of the given rows of each set, which may repeat, to the given rows of the real one.

        Raises:
            IrgenError: fewer than two rows in a set.
        """
        for drawn in (real_rows, *rows.values()):
            if len(drawn) < 2:
                raise _too_few(len(drawn))
        x = _Weighted.of(self._real, real_rows)
        whole: Statistics | None = None
        distances = {}
        for name, drawn in rows.items():
            y = _Weighted.of(self._others[name], drawn)
            if min(len(x.rows), len(y.rows)) < self._real.shape[1]:
                distances[name] = x.distance(y, self._product(name)[np.ix_(x.rows, y.rows)])
            else:
                whole = whole or Statistics.of(self._real[real_rows])
                distances[name] = frechet_distance(whole, Statistics.of(self._others[name][drawn]))
        return distances

    def _product(self, name: str) -> F64:
        if name not in self._products:
            self._products[name] = self._real @ self._others[name].T
        return self._products[name]


@dataclass(frozen=True)
class _Weighted:
    """The distinct rows of a resample.

    Attributes:
        rows: int64 [U], in order.
        weights: float64 [U], how often each was drawn; they add up to N.
        mean: float64 [d].
        trace: of the unbiased covariance.
    """

    rows: NDArray[np.int64]
    weights: F64
    mean: F64
    trace: float

    @classmethod
    def of(cls, features: F64, drawn: NDArray[np.int64]) -> Self:
        rows, counts = np.unique(drawn, return_counts=True)
        weights = counts.astype(np.float64)
        mean = weights @ features[rows] / len(drawn)
        squares = ((features[rows] - mean) ** 2).sum(axis=1)
        return cls(rows, weights, mean, float(weights @ squares / (len(drawn) - 1)))

    def distance(self, other: _Weighted, product: F64) -> float:
        """Return d^2, given the product [U, V] of the two sets' distinct rows."""
        n, m = self.weights.sum(), other.weights.sum()
        by_row, by_column = product @ other.weights / m, self.weights @ product / n
        centred = product - by_row[:, None] - by_column + self.weights @ by_row / n
        centred *= np.sqrt(np.outer(self.weights / (n - 1), other.weights / (m - 1)))
        return _distance(self.mean - other.mean, self.trace + other.trace, _nuclear_norm(centred))


def _congruent(factor: F64, matrix: F64) -> F64:
    """Return F^T S F of a symmetric S, of a triangular F in a quarter of the operations: its lower triangle alone."""
    if factor[0, 1:].any():
        return factor.T @ matrix @ factor
    # LAPACK reads columns first: to it the rows of F are the upper triangle U = F^T, and U S U^T is what is wanted.
    product, _ = lapack.dsygst(matrix.T, factor.T, itype=2, lower=0)
    lower: F64 = product.T
    return lower


def _nuclear_norm(matrix: F64) -> float:
    """Return the sum of the singular values, by the eigenvalues of the smaller Gram matrix: half the time of an SVD.

    A singular value below 1e-8 of the largest one is lost in rounding; such values do not show in a distance.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float(np.sqrt(np.linalg.eigvalsh(wide @ wide.T).clip(min=0)).sum())


def checked(features: NDArray[np.floating]) -> F64:
    """Return features [N, d] as float64.

    Raises:
        ValueError: not two axes.
        IrgenError: a feature is not finite; says how many rows are bad.
    """
    if features.ndim != 2:
        raise ValueError(f"features must be [N, d], not {list(features.shape)}")
    rows = features.astype(np.float64, copy=False)
    bad = int((~np.isfinite(rows).all(axis=1)).sum())
    if bad:
        raise IrgenError(
            f"{bad} of {len(rows)} feature rows are not finite",
            "Check the feature net's weights and the images: a distance of such features means nothing.",
        )
    return rows


def _distance(difference: F64, traces: float, overlap: float) -> float:
    # Of equal sets only rounding is left, which may be negative; a distance may not.
    return max(0.0, float(difference @ difference + traces - 2 * overlap))


def _too_few(count: int) -> IrgenError:
    return IrgenError(
        f"a Fréchet distance needs at least 2 images on each side, not {count}",
        "Caption or generate more images (captions.test_frames, samples.images), or raise report.images.",
    )
