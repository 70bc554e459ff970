"""Geometry of boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from irgen.records import Box, LabelledBox

SAME_IOU = 0.5
"""Overlap from which two boxes are of one object."""
PART = 0.7
"""Share of a box that lies inside another of its class, from which on it is a part of that object."""


def corners(boxes: Sequence[Box | LabelledBox]) -> np.ndarray:
    """Return float64 [n, 4]: x0, y0, x1, y1 px."""
    rows = [(box.x_px, box.y_px, box.x_px + box.w_px, box.y_px + box.h_px) for box in boxes]
    return np.array(rows, np.float64).reshape(-1, 4)


def iou(first: Sequence[Box | LabelledBox], second: Sequence[Box | LabelledBox]) -> np.ndarray:
    """Return intersection over union, float64 [n, m]."""
    a, b = corners(first)[:, None], corners(second)[None]
    overlap = _area(np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], -1))
    return overlap / np.maximum(_area(a) + _area(b) - overlap, 1e-9)


def share_inside(boxes: Sequence[Box | LabelledBox], regions: Sequence[Box | LabelledBox]) -> np.ndarray:
    """Return intersection over the area of `boxes`, float64 [n, m]."""
    a, b = corners(boxes)[:, None], corners(regions)[None]
    overlap = _area(np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], -1))
    return overlap / np.maximum(_area(a), 1e-9)


def pairs(
    first: Sequence[Box | LabelledBox], second: Sequence[Box | LabelledBox], least_iou: float = SAME_IOU
) -> list[tuple[int, int, float]]:
    """Pair boxes of equal class so that the sum of overlaps is largest; pairs under `least_iou` do not count.

    Returns:
        Index in `first`, index in `second`, IoU; in the order of `first`.
    """
    if not first or not second:
        return []
    overlap = iou(first, second)
    same = np.array([[one.label == other.label for other in second] for one in first])
    overlap = np.where(same & (overlap >= least_iou), overlap, 0)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return [(int(r), int(c), float(overlap[r, c])) for r, c in zip(rows, columns, strict=True) if overlap[r, c] > 0]


def _area(corner_px: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(corner_px[..., 2:] - corner_px[..., :2], 0), axis=-1)
