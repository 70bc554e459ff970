"""Kernel distance between feature sets, KID (Binkowski et al., arXiv 1801.01401, sections 3 and 4).

The squared maximum mean discrepancy under k(x, y) = (x . y / d + 1)^3, estimated without bias: its mean does not depend
on N, unlike a Fréchet distance's, so that it is the one to read where there are few images. It may be below zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irgen.errors import IrgenError
from irgen.metrics.frechet import F64, checked

DEGREE = 3
SUBSETS, SUBSET_SIZE = 100, 1000
"""As the field reports KID; torch-fidelity's defaults."""

Rows = NDArray[np.int64]


class Kid(NamedTuple):
    """Mean and standard deviation of the subsets' distances. The latter is no interval: subsets overlap."""

    mean: float
    deviation: float


def kernel_distance(real: NDArray[np.floating], generated: NDArray[np.floating]) -> float:
    """Return the unbiased squared discrepancy of features [N, d] and [M, d] over all pairs.

    It is the mean of KID over all possible subsets.

    Raises:
        IrgenError: fewer than two features in a set, or a feature that is not finite.
    """
    return Kernels(real, generated).distance(np.arange(len(real)), np.arange(len(generated)))


def kid(
    real: NDArray[np.floating],
    generated: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> Kid:
    """Return KID as the field reports it: over random subsets, drawn without replacement.

    Args:
        real: float [N, d].
        generated: float [M, d].
        rng: decides the subsets.
        subsets: how many.
        subset_size: images of each set in a subset, at most N and M.

    Raises:
        IrgenError: a set is smaller than a subset, or a feature is not finite.
    """
    if min(len(real), len(generated)) < subset_size:
        raise IrgenError(
            f"KID over subsets of {subset_size} images, but there are {len(real)} real and {len(generated)} generated",
            "Give a smaller subset_size, or take kernel_distance, which uses all pairs.",
        )
    kernels = Kernels(real, generated)
    values = [
        kernels.distance(
            rng.choice(len(real), subset_size, replace=False), rng.choice(len(generated), subset_size, replace=False)
        )
        for _ in range(subsets)
    ]
    return Kid(float(np.mean(values)), float(np.std(values)))


class Kernels:
    """The kernel values of two feature sets, from which the distance of any subset or resample is a sum.

    Args:
        real: float [N, d].
        generated: float [M, d].

    Raises:
        IrgenError: a feature that is not finite.
    """

    def __init__(self, real: NDArray[np.floating], generated: NDArray[np.floating]) -> None:
        x, y = checked(real), checked(generated)
        self._real, self._generated, self._cross = _polynomial(x, x), _polynomial(y, y), _polynomial(x, y)

    def distance(self, real_rows: Rows, generated_rows: Rows) -> float:
        """Return the unbiased squared discrepancy of the given rows.

        A row that is drawn twice makes no pair with itself, so that resamples stay unbiased.

        Raises:
            IrgenError: fewer than two different rows in a set.
        """
        n, m = _counts(real_rows, len(self._real)), _counts(generated_rows, len(self._generated))
        cross = n @ self._cross @ m / (n.sum() * m.sum())
        return float(_within(self._real, n) + _within(self._generated, m) - 2 * cross)


def _polynomial(x: F64, y: F64) -> F64:
    kernel: F64 = (x @ y.T / x.shape[1] + 1) ** DEGREE
    return kernel


def _counts(rows: Rows, size: int) -> F64:
    counts = np.bincount(rows, minlength=size).astype(np.float64)
    if np.count_nonzero(counts) < 2:
        raise IrgenError(
            f"a kernel distance needs at least 2 different images on each side, not {np.count_nonzero(counts)}",
            "Caption or generate more images (captions.test_frames, samples.images), or raise report.images.",
        )
    return counts


def _within(kernel: F64, counts: F64) -> float:
    """Return the mean kernel value over pairs of different rows."""
    squares = counts**2
    return float((counts @ kernel @ counts - squares @ np.diag(kernel)) / (counts.sum() ** 2 - squares.sum()))
