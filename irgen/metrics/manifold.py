"""Precision, recall, density and coverage: is what was made real, and is what is real made?

Around each image of a set a ball reaches to its k-th nearest neighbour in the set; the balls together stand for the
set's manifold. Precision and recall: Kynkäänniemi et al., arXiv 1904.06991, equations 1 and 2 (k = 3). Density and
coverage: Naeem et al., arXiv 2002.09797, equations 3 and 4 (k = 5); one outlier moves them less.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from irgen.errors import IrgenError
from irgen.metrics.frechet import F64, checked

PRECISION_NEIGHBOURS = 3
DENSITY_NEIGHBOURS = 5

Rows = NDArray[np.int64]


class Manifold(NamedTuple):
    """What share of one set lies within the other.

    Attributes:
        precision: share of generated images in a ball of the real set, 0..1.
        recall: share of real images in a ball of the generated set, 0..1.
        density: how many real balls a generated image lies in, over k; about 1 for equal distributions, no upper end.
        coverage: share of real images with a generated one in their ball, 0..1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(real: NDArray[np.floating], generated: NDArray[np.floating]) -> Manifold:
    """Return the four figures of features [N, d] and [M, d].

    Raises:
        IrgenError: a set has no more images than a ball has neighbours, or a feature is not finite.
    """
    return Neighbourhoods(real, generated).manifold(np.arange(len(real)), np.arange(len(generated)))


class Neighbourhoods:
    """All distances of two feature sets, from which the figures of any resample are counted.

    Args:
        real: float [N, d].
        generated: float [M, d].

    Raises:
        IrgenError: a feature that is not finite.
    """

    def __init__(self, real: NDArray[np.floating], generated: NDArray[np.floating]) -> None:
        x, y = checked(real), checked(generated)
        self._real, self._generated, self._cross = squared(x, x), squared(y, y), squared(x, y)
        np.fill_diagonal(self._real, np.inf)
        np.fill_diagonal(self._generated, np.inf)

    def manifold(self, real_rows: Rows, generated_rows: Rows) -> Manifold:
        """Return the figures of the given rows.

        A row drawn c times counts c times, but is not its own neighbour: copies would shrink the balls to nothing.

        Raises:
            IrgenError: a set has no more different rows than a ball has neighbours.
        """
        x, n = np.unique(real_rows, return_counts=True)
        y, m = np.unique(generated_rows, return_counts=True)
        within_x, within_y, cross = self._real[np.ix_(x, x)], self._generated[np.ix_(y, y)], self._cross[np.ix_(x, y)]
        near, far = _radii(within_x, PRECISION_NEIGHBOURS)[:, None], _radii(within_y, PRECISION_NEIGHBOURS)
        reach = _radii(within_x, DENSITY_NEIGHBOURS)[:, None]
        inside = cross <= reach
        return Manifold(
            precision=_mean((cross <= near).any(axis=0), m),
            recall=_mean((cross <= far).any(axis=1), n),
            # The balls reach as far as the different rows make them, so their number must be that of these, too.
            density=_mean(n @ inside, m) * len(x) / n.sum() / DENSITY_NEIGHBOURS,
            coverage=_mean(inside.any(axis=1), n),
        )


def squared(x: F64, y: F64) -> F64:
    """Return the squared Euclidean distances [N, M] of rows [N, d] and [M, d]."""
    # Without the shift, features far from zero would leave nothing but rounding of short distances.
    centre = x.mean(axis=0)
    x, y = x - centre, y - centre
    distances: F64 = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return distances.clip(min=0)


def _radii(within: F64, neighbours: int) -> F64:
    if len(within) <= neighbours:
        raise IrgenError(
            f"{len(within)} different images, but a ball reaches to the {neighbours}-th neighbour",
            "Caption or generate more images (captions.test_frames, samples.images), or raise report.images.",
        )
    place = neighbours - 1
    return np.partition(within, place, axis=1)[:, place]


def _mean(values: Any, weights: Rows) -> float:
    return float(np.average(values, weights=weights))
