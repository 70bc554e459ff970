"""Boxes that an image had before it was looked at, and what the teachers make of them.

An inherited box that both teachers find, or one of them, becomes the mean of what is there and what was found (IoU of
at least .5), or moves to where both find it (at least .3). One that neither finds is to be ignored, for something may
be left of it. What the teachers see beyond that counts as ever, but for parts of an object that has its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from irgen.labels.boxes import PART, SAME_IOU, iou, pairs, share_inside
from irgen.labels.voting import BOTH, Vote
from irgen.records import Box, LabelledBox

MOVED_IOU = 0.3


def inherit(
    boxes: Sequence[Box], votes: Sequence[Vote], source: str, ignore_from: float, classes: Sequence[str]
) -> list[LabelledBox]:
    """Join the boxes that an image started with and the teachers' votes on it.

    Args:
        boxes: that it started with, in its pixels, by the teachers' classes; those to be ignored stay so.
        votes: of the teachers.
        source: of the boxes: "inherit" or "insert".
        ignore_from: least likelihood of a vote that stands alone to be an ignore box.
        classes: that the teachers know; a box of another class is to be ignored, whichever of them it may be taken for.

    Returns:
        Boxes with the source of what they are from. A confirmed one is as likely as two independent witnesses make it:
        the vote alone is right with likelihood p, the start with one half, and it is 1 - (1 - p) / 2.
    """
    known = [box for box in boxes if not box.ignore and box.label in classes]
    found = [
        _labelled(replace(box, label=label), source, 0.0, ignore=True)
        for box in boxes
        if box.ignore or box.label not in classes
        for label in ([box.label] if box.label in classes else classes)
    ]
    likely = [vote for vote in votes if not vote.box.ignore or vote.box.score >= ignore_from]
    seen = {one: (other, overlap) for one, other, overlap in pairs(known, [vote.box for vote in likely], MOVED_IOU)}
    used = set()
    for number, box in enumerate(known):
        other, overlap = seen.get(number, (-1, 0.0))
        if overlap >= SAME_IOU:
            found.append(_confirmed(box, likely[other], source))
        elif overlap and not likely[other].box.ignore:
            found.append(replace(likely[other].box, source=source))
        else:
            found.append(_labelled(box, source, 0.0, ignore=True))
            continue
        used.add(other)
    for number, vote in enumerate(likely):
        if number not in used and not _is_known(vote.box, found):
            found.append(vote.box)
    return found


def _is_known(box: LabelledBox, found: Sequence[LabelledBox]) -> bool:
    """Say whether a box is of an object that has one, or a part of it."""
    if found and iou([box], found).max() >= SAME_IOU:
        return True
    alike = [one for one in found if one.label == box.label and not one.ignore]
    return bool(alike) and bool(share_inside([box], alike).max() >= PART)


def _confirmed(box: Box, vote: Vote, source: str) -> LabelledBox:
    weight = 2.0 if vote.voter == BOTH else 1.0
    x, y, w, h = np.average(
        [(box.x_px, box.y_px, box.w_px, box.h_px), (vote.box.x_px, vote.box.y_px, vote.box.w_px, vote.box.h_px)],
        axis=0,
        weights=[1.0, weight],
    )
    labelled = _labelled(box, source, 1 - (1 - vote.box.score) / 2, ignore=False)
    return replace(
        labelled, x_px=float(x), y_px=float(y), w_px=float(w), h_px=float(h), teacher_iou=vote.box.teacher_iou
    )


def _labelled(box: Box, source: str, score: float, *, ignore: bool) -> LabelledBox:
    return LabelledBox(box.label, box.x_px, box.y_px, box.w_px, box.h_px, score, source, 0.0, ignore)
