"""Detector agreement: whether what is found in an image is as many, and where, as its caption says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irgen.captions.agreement import agreement
from irgen.labels.teachers import Teachers
from irgen.records import Box
from irgen.search.interface import Scores
from irgen.settings import AgreementChoice
from irgen.verifiers.batches import check_pairs
from irgen.verifiers.detector import Detection, Detector, TransformersDetector


class Agreement:
    """Scores 0 to 1: the mean of how well the count and the places fit the caption.

    Args:
        detector: finds the objects.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    @classmethod
    def load(cls, choice: AgreementChoice) -> Agreement:
        """Load the detector that the settings name.

        Raises:
            WeightsError: it is not to be had, or knows no class that captions tell.
        """
        return cls(TransformersDetector.load(choice.detector, choice.confidence))

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3]; 1 where the caption says nothing that could be checked."""
        check_pairs(images, captions)
        height_px, width_px = images.shape[1:3]
        pairs = [
            agreement(caption, [detection.box for detection in found], width_px, height_px)
            for caption, found in zip(captions, self._detector.detect(images), strict=True)
        ]
        count, place = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
        return Scores((count + place) / 2, {"agreement_count": count, "agreement_place": place})


class AgreedOn:
    """A detector: what both teachers find surely.

    Args:
        teachers: the two.
    """

    def __init__(self, teachers: Teachers) -> None:
        self._teachers = teachers

    def detect(self, images: np.ndarray) -> list[list[Detection]]:
        """Find objects in uint8 [B, H, W, 3], a list each."""
        return [
            [
                Detection(Box(box.label, box.x_px, box.y_px, box.w_px, box.h_px), box.score)
                for box in own
                if not box.ignore
            ]
            for own in self._teachers.label(images)
        ]
