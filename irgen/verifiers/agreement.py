"""Detector agreement: whether what is found in an image is as many, and where, as its caption says.

Of a dataset's own teachers that is what both find surely. What they doubt, and what is surely there but untold, will be
boxes to be ignored; it may be taken off, so that a search keeps images that can be labelled.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from irgen.captions.agreement import agreement
from irgen.labels.agreeing import doubt_untold, sure
from irgen.labels.teachers import Teachers
from irgen.records import Box
from irgen.search.interface import Scores
from irgen.settings import AgreementChoice
from irgen.verifiers.batches import check_pairs
from irgen.verifiers.detector import Detector, TransformersDetector


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
        found = [[detection.box for detection in own] for own in self._detector.detect(images)]
        return _fits(captions, found, images, self._detector.classes)


class TeachersAgreement:
    """Scores as `Agreement` what both teachers find surely, less what they doubt: 1 at most, it may be under 0.

    Args:
        teachers: the two.
        doubt: taken off for each object that would be a box to be ignored, times how likely it is one.
    """

    def __init__(self, teachers: Teachers, doubt: float) -> None:
        self._teachers = teachers
        self._doubt = doubt

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3]; without doubts 1 where the caption says nothing that could be checked."""
        check_pairs(images, captions)
        found = self._teachers.label(images)
        fits = _fits(captions, [sure(own) for own in found], images, self._teachers.classes)
        ignored = [
            math.fsum(box.score for box in doubt_untold(caption, own, self._teachers.classes) if box.ignore)
            for caption, own in zip(captions, found, strict=True)
        ]
        doubt = np.array(ignored, dtype=np.float64)
        return Scores(fits.value - self._doubt * doubt, {**fits.parts, "agreement_doubt": doubt})


def _fits(
    captions: Sequence[str], found: Sequence[Sequence[Box]], images: np.ndarray, known: Collection[str]
) -> Scores:
    height_px, width_px = images.shape[1:3]
    pairs = [agreement(caption, own, width_px, height_px, known) for caption, own in zip(captions, found, strict=True)]
    count, place = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    return Scores((count + place) / 2, {"agreement_count": count, "agreement_place": place})
