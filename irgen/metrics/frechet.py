"""Fréchet distance between feature sets, as FID uses it (Heusel et al., arXiv 1706.08500, equation 6).

    d^2 = |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1^1/2 S2 S1^1/2)^1/2)

Statistics are fp64 always: in fp32 FID was 0.58 off at 2048 dimensions. The product S1 S2 is not symmetric, so its
`eigvalsh` would be wrong; S1^1/2 S2 S1^1/2 is symmetric and has the same eigenvalues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

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
    def root(self) -> F64:
        """Symmetric square root of the covariance; kept, so that one real set serves many comparisons."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet_distance(real: Statistics, generated: Statistics) -> float:
    """Return the squared Fréchet distance d^2 >= 0 of two Gaussians; `real.root` is made once.

    Raises:
        IrgenError: one set has fewer than two features.
    """
    difference = real.mean - generated.mean
    eigenvalues = np.linalg.eigvalsh(real.root @ generated.covariance @ real.root)
    overlap = np.sqrt(eigenvalues.clip(min=0)).sum()
    return _distance(difference, np.trace(real.covariance) + np.trace(generated.covariance), overlap)


def frechet_distances(real: NDArray[np.floating], others: Mapping[str, NDArray[np.floating]]) -> dict[str, float]:
    """Return d^2 >= 0 of each feature set [M, d] to the real one [N, d], by name.

    Raises:
        IrgenError: fewer than two features in a set, or a feature that is not finite.
    """
    if max(len(real), *map(len, others.values())) < real.shape[1]:
        return {name: _gram_distance(real, features) for name, features in others.items()}
    statistics = Statistics.of(real)
    return {name: frechet_distance(statistics, Statistics.of(features)) for name, features in others.items()}


def _gram_distance(real: NDArray[np.floating], generated: NDArray[np.floating]) -> float:
    """Return d^2 without ever making a [d, d] matrix: 28 times as fast at N < d.

    For centred features X and Y, tr((S1^1/2 S2 S1^1/2)^1/2) is the nuclear norm of X Y^T over
    sqrt((N - 1)(M - 1)), because S1^1/2 S2^1/2 and X Y^T have the same singular values up to that factor.
    """
    for rows in (real, generated):
        if len(rows) < 2:
            raise _too_few(len(rows))
    real, generated = checked(real), checked(generated)
    x, y = _scaled_deviations(real), _scaled_deviations(generated)
    overlap = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return _distance(real.mean(axis=0) - generated.mean(axis=0), (x**2).sum() + (y**2).sum(), overlap)


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


def _scaled_deviations(rows: F64) -> F64:
    """Centre features and scale them so that their squares add up to the covariance's trace."""
    return (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)


def _distance(difference: F64, traces: float, overlap: float) -> float:
    # Of equal sets only rounding is left, which may be negative; a distance may not.
    return max(0.0, float(difference @ difference + traces - 2 * overlap))


def _too_few(count: int) -> IrgenError:
    return IrgenError(
        f"a Fréchet distance needs at least 2 images on each side, not {count}",
        "Caption or generate more images (captions.test_frames, samples.images), or raise report.images.",
    )
