"""Whether the boxes of an image are what its caption tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irgen.labels.teachers import Teachers
from irgen.records import Box, LabelledBox
from irgen.verifiers.agreement import agreement
from irgen.verifiers.detector import Detection


class AgreedOn:
    """A `verifiers.detector.Detector`: what both teachers find surely.

    Args:
        teachers: the two.
    """

    def __init__(self, teachers: Teachers) -> None:
        self._teachers = teachers

    def detect(self, images: np.ndarray) -> list[list[Detection]]:
        """Find objects in uint8 [B, H, W, 3], a list each."""
        return [detections(own) for own in self._teachers.label(images)]


def detections(boxes: Sequence[LabelledBox]) -> list[Detection]:
    """Return what is not to be ignored as a detector's finds."""
    return [
        Detection(Box(box.label, box.x_px, box.y_px, box.w_px, box.h_px), box.score) for box in boxes if not box.ignore
    ]


def agreements(
    captions: Sequence[str], boxes: Sequence[Sequence[LabelledBox]], width_px: int, height_px: int
) -> list[float]:
    """Return for each image, 0 to 1, the mean of how well its boxes' count and places fit its caption.

    See `irgen.verifiers.agreement.agreement`; 1 where the caption says nothing that could be checked.
    """
    return [
        sum(agreement(caption, detections(own), width_px, height_px)) / 2
        for caption, own in zip(captions, boxes, strict=True)
    ]
