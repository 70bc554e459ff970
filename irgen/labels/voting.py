"""Two detectors' boxes of one image made into one list: what both see, and what only one does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from irgen.labels.boxes import PART, SAME_IOU, iou, share_inside
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


def agreed(first: Sequence[LabelledBox], second: Sequence[LabelledBox]) -> list[tuple[int, int, float]]:
    """Pair boxes of one class at IoU >= .5, those of the largest sum of scores first.

    Not those that overlap most (`boxes.pairs`): among many doubtful boxes a sure one would be paired with one of them
    that happens to lie closer than the sure one of the other list.

    Returns:
        Index in `first`, index in `second`, IoU.
    """
    overlap = iou(first, second)
    close = [
        (int(one), int(other))
        for one, other in np.argwhere(overlap >= SAME_IOU)
        if first[one].label == second[other].label
    ]
    close.sort(key=lambda pair: -first[pair[0]].score - second[pair[1]].score)
    found: list[tuple[int, int, float]] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for one, other in close:
        if one not in taken[0] and other not in taken[1]:
            found.append((one, other, float(overlap[one, other])))
            taken[0].add(one)
            taken[1].add(other)
    return found


def votes(first: Sequence[LabelledBox], second: Sequence[LabelledBox]) -> list[Vote]:
    """Join what two detectors found in one image.

    Boxes of one class at IoU >= .5 are one. A box that overlaps a surer one of the list so much, of whatever class, is
    left out: it is the same object.

    Returns:
        Votes, those of both first, then the surest first.
    """
    both = agreed(first, second)
    seen = [{one for one, _, _ in both}, {other for _, other, _ in both}]
    found = [Vote(replace(mean(first[one], second[other]), teacher_iou=overlap), BOTH) for one, other, overlap in both]
    for voter, boxes in enumerate((first, second)):
        found += [Vote(box, voter) for number, box in enumerate(boxes) if number not in seen[voter]]
    found.sort(key=lambda vote: (vote.voter != BOTH, -vote.box.score))
    kept: list[Vote] = []
    for vote in found:
        if not kept or iou([vote.box], [other.box for other in kept]).max() < SAME_IOU:
            kept.append(vote)
    return kept


def doubt_nested(found: Sequence[Vote]) -> list[Vote]:
    """Turn a box that a surer one of its class holds, or lies in, into one to be ignored.

    Either may be the object and the other its part, a wheel or a bumper, or both may be objects one before the other:
    two are seldom right, so the surer is kept.

    Args:
        found: votes of an image, judged: those to be ignored are known.
    """
    settled: list[LabelledBox] = []
    doubted = set()
    for number, vote in sorted(enumerate(found), key=lambda one: -one[1].box.score):
        if vote.box.ignore:
            continue
        alike = [box for box in settled if box.label == vote.box.label]
        if alike and max(share_inside([vote.box], alike).max(), share_inside(alike, [vote.box]).max()) >= PART:
            doubted.add(number)
        else:
            settled.append(vote.box)
    return [
        replace(vote, box=replace(vote.box, ignore=True)) if number in doubted else vote
        for number, vote in enumerate(found)
    ]


def mean(one: LabelledBox, other: LabelledBox) -> LabelledBox:
    """Return the box between two of one object, nearer the surer, with the mean of their scores."""
    weights = np.array([one.score, other.score])
    x0, y0, x1, y1 = np.average([_corners(one), _corners(other)], axis=0, weights=weights)
    return replace(
        one,
        x_px=float(x0),
        y_px=float(y0),
        w_px=float(x1 - x0),
        h_px=float(y1 - y0),
        score=float(weights.mean()),
    )


def _corners(box: LabelledBox) -> tuple[float, float, float, float]:
    return box.x_px, box.y_px, box.x_px + box.w_px, box.y_px + box.h_px
