"""The log-average miss rate of pedestrian detection, as the field computes it.

Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art" (TPAMI 2012), sections 3.2 and 4, on KAIST
with the setting "Reasonable" of Hwang et al. (CVPR 2015). Detections are matched from the surest on, each to the free
object that it overlaps most; what lies in a box to be ignored counts neither way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

FPPI_POINTS: F64 = np.array([0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0])
"""False positives per image at which the miss rate is read off; KAIST's evaluator rounds them like this."""
SAME_IOU = 0.5
LEAST_RATE = 1e-10
"""A miss rate of 0 has no logarithm; this one is taken instead."""


@dataclass(frozen=True)
class Setting:
    """Which objects count; all others are to be ignored. The default is KAIST's "Reasonable".

    Attributes:
        least_height_px: of an object.
        occlusions: 0 none, 1 partial, 2 heavy.
        bounds_px: left, top, right and bottom edge that the object must be within.
    """

    least_height_px: float = 55.0
    occlusions: tuple[int, ...] = (0, 1)
    bounds_px: tuple[float, float, float, float] = (5.0, 5.0, 635.0, 507.0)

    def scaled(self, width_px: int, height_px: int) -> Setting:
        """Return the setting for frames of another size than KAIST's 640x512, all lengths in proportion."""
        x, y = width_px / 640, height_px / 512
        left, top, right, bottom = self.bounds_px
        return Setting(self.least_height_px * y, self.occlusions, (left * x, top * y, right * x, bottom * y))


@dataclass(frozen=True)
class Objects:
    """What is to be found in one image.

    Attributes:
        boxes_px: float64 [n, 4]: x, y, width, height.
        occlusions: int [n]: 0 none, 1 partial, 2 heavy.
        ignore: bool [n]: to be ignored whatever the setting.
        heights_px: float64 [n]: annotated heights, as a rule those of the boxes.
    """

    boxes_px: F64
    occlusions: NDArray[np.int64]
    ignore: Bools
    heights_px: F64


@dataclass(frozen=True)
class Detections:
    """What was found in one image: float64 boxes [n, 4] as x, y, width, height px, and float64 scores [n]."""

    boxes_px: F64
    scores: F64


@dataclass(frozen=True)
class Matched:
    """Detections of one image that count, surest first.

    Attributes:
        scores: float64 [n].
        right: bool [n]: found an object, else a false positive.
        objects: how many were to be found.
    """

    scores: F64
    right: Bools
    objects: int


def match(objects: Objects, detections: Detections, setting: Setting) -> Matched:
    """Match the detections of one image with its objects."""
    ignored = to_ignore(objects, setting)
    order = np.argsort(-detections.scores, kind="stable")
    boxes_px, scores = detections.boxes_px[order], detections.scores[order]
    overlaps = overlap(boxes_px, objects.boxes_px, ignored)
    free = ~ignored
    right, counts = np.zeros(len(boxes_px), bool), np.ones(len(boxes_px), bool)
    for row, own in enumerate(overlaps):
        wanted = np.where(free, own, 0.0)
        best = wanted.max(initial=0.0)
        if best >= SAME_IOU:
            right[row] = True
            # Of equal overlaps the last is taken, as by the field's evaluator.
            free[np.flatnonzero(wanted == best)[-1]] = False
        elif (own[ignored] >= SAME_IOU).any():
            counts[row] = False
    return Matched(scores[counts], right[counts], int((~ignored).sum()))


def to_ignore(objects: Objects, setting: Setting) -> Bools:
    """Return bool [n]: which objects do not count under a setting."""
    x, y, width, height = objects.boxes_px.T
    left, top, right, bottom = setting.bounds_px
    outside = (x < left) | (y < top) | (x + width > right) | (y + height > bottom)
    small = objects.heights_px < setting.least_height_px
    ignored: Bools = objects.ignore | outside | small | ~np.isin(objects.occlusions, setting.occlusions)
    return ignored


def overlap(boxes_px: F64, objects_px: F64, ignored: Bools) -> F64:
    """Return float64 [n, m]: intersection over union, over the area of the detection for objects to be ignored.

    Args:
        boxes_px: float64 [n, 4], detections as x, y, width, height; one of no area overlaps nothing.
        objects_px: float64 [m, 4].
        ignored: bool [m].
    """
    a, b = boxes_px[:, None], objects_px[None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    own = np.prod(np.maximum(a[..., 2:], 0), axis=-1)
    union = own + np.prod(b[..., 2:], axis=-1) - shared
    whole = np.where(ignored, own, union)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def curve(images: Sequence[Matched]) -> tuple[F64, F64]:
    """Return false positives per image and recall, each float64 [n], after each detection, surest first.

    Of equal scores those of earlier images come first. Recall is nan where there is nothing to find.
    """
    scores = np.concatenate([np.zeros(0), *(image.scores for image in images)])
    right = np.concatenate([np.zeros(0, bool), *(image.right for image in images)])
    ordered = right[np.argsort(-scores, kind="stable")]
    objects = sum(image.objects for image in images)
    recall = np.cumsum(ordered) / objects if objects else np.full(len(ordered), np.nan)
    return np.cumsum(~ordered) / max(1, len(images)), recall


def log_average(images: Sequence[Matched]) -> float:
    """Return the log-average miss rate, 0 to 1; nan where there is nothing to find.

    exp(mean(ln(miss rate))) at `FPPI_POINTS`, each read at the last detection whose false positives per image do not
    exceed it. Where the first detection exceeds it already nothing is found: the miss rate there is 1. (The common
    Python port takes the *last* recall then, which needs under 100 images to show.)
    """
    if not any(image.objects for image in images):
        return float("nan")
    fppi, recall = curve(images)
    reached = np.concatenate([[0.0], recall])[np.searchsorted(fppi, FPPI_POINTS, side="right")]
    return float(np.exp(np.log(np.maximum(LEAST_RATE, 1 - reached)).mean()))


def recall(images: Sequence[Matched]) -> float:
    """Return the share of objects that any detection finds, 0 to 1; nan where there is nothing to find."""
    objects = sum(image.objects for image in images)
    return sum(int(image.right.sum()) for image in images) / objects if objects else float("nan")
