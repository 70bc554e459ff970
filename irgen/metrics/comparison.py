"""All figures that compare one generated set with one real set, each with its interval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irgen.errors import IrgenError
from irgen.metrics import bootstrap
from irgen.metrics.bootstrap import Rows
from irgen.metrics.frechet import Distances
from irgen.metrics.kernel import Kernels
from irgen.metrics.manifold import Neighbourhoods

FEW = 50
"""Below it a Fréchet distance says more about N than about the images."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval; the interval is as wide as the figure itself where nothing was resampled."""

    value: float
    low: float
    high: float


def compare(
    real: NDArray[np.floating],
    generated: NDArray[np.floating],
    real_groups: Sequence[str],
    generated_groups: Sequence[str],
    *,
    resamplings: int,
    seed: int,
) -> dict[str, Figure]:
    """Compare two feature sets of equal N.

    Args:
        real: float [N, d].
        generated: float [N, d].
        real_groups: of each real row, its video.
        generated_groups: of each generated row, its group; all different ones resample single images.
        resamplings: for the intervals, at least 1.
        seed: of the resamplings.

    Returns:
        frechet, kernel, precision, recall, density and coverage. Fewer than 50 images log a warning.

    Raises:
        IrgenError: N differs, is too small for a figure (6 images), or a feature is not finite.
    """
    if len(real) != len(generated):
        raise IrgenError(
            f"{len(real)} real and {len(generated)} generated images: figures at unequal N do not compare",
            f"Take {min(len(real), len(generated))} of each.",
        )
    if len(real) < FEW:
        _log.warning(
            "%d images a side: below %d a Fréchet distance is mostly bias, which grows as 1 / N; read the kernel "
            "distance, which has none",
            len(real),
            FEW,
        )
    distances = Distances(real, {"frechet": generated})
    kernels, neighbourhoods = Kernels(real, generated), Neighbourhoods(real, generated)

    def figures(real_rows: Rows, generated_rows: Rows) -> dict[str, float]:
        return {
            **distances.at(real_rows, {"frechet": generated_rows}),
            "kernel": kernels.distance(real_rows, generated_rows),
            **neighbourhoods.manifold(real_rows, generated_rows)._asdict(),
        }

    values = figures(np.arange(len(real)), np.arange(len(generated)))
    intervals = bootstrap.intervals(figures, real_groups, generated_groups, resamplings=resamplings, seed=seed)
    return {name: Figure(value, *intervals[name]) for name, value in values.items()}
