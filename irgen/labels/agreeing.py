"""Whether the boxes of an image are what its caption tells."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from irgen.captions import rules
from irgen.captions.agreement import CYCLIST, PERSON, agreement, counted_as, read
from irgen.labels.detectors import SOURCE
from irgen.records import Box, LabelledBox


def doubt_untold(caption: str, boxes: Sequence[LabelledBox], known: Collection[str]) -> list[LabelledBox]:
    """Turn the boxes of classes that a caption leaves out into boxes to be ignored; `known` can be found at all.

    An image is drawn after its caption: of what is not told there is seldom any. A caption that tells neither objects
    nor that nobody is there, or classes that captions do not tell, say nothing; nor does it doubt what the image was
    started from.
    """
    told, nobody = read(caption)
    if not nobody and not any(counted_as(group.label) in known for group in told):
        return list(boxes)
    untold = {label for label, nouns in rules.NOUNS.items() if not re.search(rf"\b({'|'.join(nouns)})\b", caption)}
    if nobody:
        untold |= {PERSON, CYCLIST}
    return [replace(box, ignore=True) if box.source == SOURCE and box.label in untold else box for box in boxes]


def agreements(
    captions: Sequence[str],
    boxes: Sequence[Sequence[LabelledBox]],
    width_px: int,
    height_px: int,
    known: Collection[str],
) -> list[float]:
    """Return for each image, 0 to 1, the mean of how well its boxes' count and places fit its caption.

    See `irgen.captions.agreement.agreement`; 1 where the caption says nothing that could be checked.
    """
    return [
        sum(agreement(caption, sure(own), width_px, height_px, known)) / 2
        for caption, own in zip(captions, boxes, strict=True)
    ]


def sure(boxes: Sequence[LabelledBox]) -> list[Box]:
    """Return the boxes that are not to be ignored."""
    return [Box(box.label, box.x_px, box.y_px, box.w_px, box.h_px) for box in boxes if not box.ignore]
