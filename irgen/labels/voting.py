"""Two detectors' boxes of one image made into one list: what both see, and what only one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from irgen.labels.boxes import SAME_IOU, iou, pairs
from irgen.records import LabelledBox

BOTH = 2
"""As the voter of a vote: both of them."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A box that one detector, or both, found.

    Attributes:
        box: raw score; where both found it, the mean of boxes and scores, and the overlap of the two.
        voter: 0 or 1, the one that saw it, or `BOTH`.
    """

    box: LabelledBox
    voter: int


def votes(first: Sequence[LabelledBox], second: Sequence[LabelledBox]) -> list[Vote]:
    """Join what two detectors found in one image.

    Boxes of one class at IoU >= .5 are one. A box that overlaps a surer one of the list so much, of whatever class, is
    left out: it is the same object.

    Returns:
        Votes, those of both first, then the surest first.
    """
    agreed = pairs(first, second)
    seen = [{one for one, _, _ in agreed}, {other for _, other, _ in agreed}]
    found = [Vote(_mean(first[one], second[other], overlap), BOTH) for one, other, overlap in agreed]
    for voter, boxes in enumerate((first, second)):
        found += [Vote(box, voter) for number, box in enumerate(boxes) if number not in seen[voter]]
    found.sort(key=lambda vote: (vote.voter != BOTH, -vote.box.score))
    kept: list[Vote] = []
    for vote in found:
        if not kept or iou([vote.box], [other.box for other in kept]).max() < SAME_IOU:
            kept.append(vote)
    return kept


def _mean(one: LabelledBox, other: LabelledBox, overlap: float) -> LabelledBox:
    weights = np.array([one.score, other.score])
    x0, y0, x1, y1 = np.average([_corners(one), _corners(other)], axis=0, weights=weights)
    return replace(
        one,
        x_px=float(x0),
        y_px=float(y0),
        w_px=float(x1 - x0),
        h_px=float(y1 - y0),
        score=float(weights.mean()),
        teacher_iou=overlap,
    )


def _corners(box: LabelledBox) -> tuple[float, float, float, float]:
    return box.x_px, box.y_px, box.x_px + box.w_px, box.y_px + box.h_px
