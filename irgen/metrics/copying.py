"""Is the dataset new, or training frames over again? Each image's nearest training frame, and what that means.

A short distance alone says nothing: real frames of one road are alike, too. So it is measured against held-out real
frames, which cannot be copies (Meehan et al., arXiv 2004.05675, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from irgen.errors import IrgenError
from irgen.metrics.frechet import F64, checked
from irgen.metrics.manifold import squared

ROWS_AT_ONCE = 256


class Nearest(NamedTuple):
    """Of each image, the nearest training frame.

    Attributes:
        row: int64 [N], of the training features; the first of equally near ones.
        distance: float64 [N], Euclidean.
    """

    row: NDArray[np.int64]
    distance: F64


def nearest(features: NDArray[np.floating], training: NDArray[np.floating]) -> Nearest:
    """Find the nearest of the training features [T, d] to each of the features [N, d].

    Raises:
        IrgenError: no training frame, or a feature is not finite.
    """
    rows, frames = checked(features), checked(training)
    if len(frames) == 0:
        raise IrgenError("no training frame to look for copies of", "Give the features of the train split.")
    parts = [_nearest(part, frames) for part in np.array_split(rows, max(1, -(-len(rows) // ROWS_AT_ONCE)))]
    return Nearest(np.concatenate([part.row for part in parts]), np.concatenate([part.distance for part in parts]))


def copying(generated: NDArray[np.floating], held_out: NDArray[np.floating], training: NDArray[np.floating]) -> float:
    """Return how often a generated image lies nearer to the training frames than a held-out real one, 0..1.

    0.5: no nearer than new real frames are. Towards 1: copies. Towards 0: far from anything real.

    Args:
        generated: float [N, d].
        held_out: float [M, d], of real frames that were not trained on.
        training: float [T, d], of those that were.

    Raises:
        IrgenError: an empty set, or a feature is not finite.
    """
    return nearer(nearest(generated, training).distance, nearest(held_out, training).distance)


def nearer(generated: F64, held_out: F64) -> float:
    """Return `copying` of the distances [N] and [M] to the nearest training frames, as `nearest` gives them.

    Raises:
        IrgenError: an empty set.
    """
    if not len(generated) or not len(held_out):
        raise IrgenError(
            f"{len(generated)} generated images and {len(held_out)} held-out frames", "Give at least one of each."
        )
    ordered = np.sort(held_out)
    further = len(held_out) - np.searchsorted(ordered, generated, side="right")
    equal = np.searchsorted(ordered, generated, side="right") - np.searchsorted(ordered, generated, side="left")
    return float((further + equal / 2).mean() / len(held_out))


def _nearest(rows: F64, frames: F64) -> Nearest:
    # The product picks the frame; its distance is then taken directly, so that a copy is at exactly 0.
    row = squared(frames, rows).argmin(axis=0) if len(rows) else np.zeros(0, np.int64)
    return Nearest(row, np.sqrt(((rows - frames[row]) ** 2).sum(axis=1)))
