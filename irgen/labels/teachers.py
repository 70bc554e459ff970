"""Two detectors of different architectures that learnt on real infrared, and what they agree on.

What both find (IoU >= .5) is a box where its score reaches the class's threshold: the least at which as many as
`precision` of the boxes of about that score are right on held-out videos. What only one finds, or both with a lower
score, is an ignore box where it is right often enough to matter, and else nothing. A box's score is how likely it is
right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from irgen import files
from irgen.errors import WeightsError
from irgen.images import resize
from irgen.labels import calibration, detectors
from irgen.labels.calibration import Outcomes
from irgen.labels.detectors import Detector
from irgen.labels.voting import BOTH, Vote, doubt_nested, votes
from irgen.records import Box, LabelledBox

CALIBRATION = "calibration.json"
VOTERS = ("first", "second", "both")
"""Names of voters 0, 1 and `voting.BOTH` in the calibration."""


@dataclass(frozen=True)
class Teachers:
    """Two detectors and how far to trust them.

    Attributes:
        detectors: the two.
        curves: by voter and class: how likely a box of a raw score is right; see `calibration.likelihood`.
        thresholds: by class: least raw score of what both find to be a box.
        ignore_from: least likelihood of an ignore box.
    """

    detectors: tuple[Detector, Detector]
    curves: Mapping[str, Mapping[str, list[float]]]
    thresholds: Mapping[str, float]
    ignore_from: float

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return self.detectors[0].classes

    def votes(self, images: np.ndarray) -> list[list[Vote]]:
        """Find what either sees in uint8 [B, H, W] or [B, H, W, 3]; scores become likelihoods.

        Where both found a box surely enough, and none surer of its class holds it or lies in it, it is not to be
        ignored; all others are. Images of another size than the detectors learnt on are resized, and boxes are in the
        pixels of what was given.
        """
        height, width = self.detectors[0].size_px
        gray = np.stack([resize(image, width, height) for image in detectors.to_gray(images)])
        found = [one.detect(gray) for one in self.detectors]
        scale = images.shape[2] / width, images.shape[1] / height
        judged = [doubt_nested([self._judged(vote) for vote in votes(*both)]) for both in zip(*found, strict=True)]
        return [[_scaled(vote, *scale) for vote in own] for own in judged]

    def label(self, images: np.ndarray) -> list[list[LabelledBox]]:
        """Return the boxes of uint8 [B, H, W] or [B, H, W, 3], those to be ignored among them."""
        return [self.boxes(own) for own in self.votes(images)]

    def boxes(self, votes: Sequence[Vote]) -> list[LabelledBox]:
        """Return the boxes of an image's votes."""
        return [vote.box for vote in votes if not vote.box.ignore or vote.box.score >= self.ignore_from]

    def _judged(self, vote: Vote) -> Vote:
        box = vote.box
        trusted = vote.voter == BOTH and box.score >= self.thresholds[box.label]
        score = calibration.likelihood(self.curves[VOTERS[vote.voter]][box.label], box.score)
        return replace(vote, box=replace(box, score=score, ignore=not trusted))

    def save(self, folder: Path, measured: Mapping[str, Any]) -> None:
        """Write both detectors, and `calibration.json` with what was measured."""
        for name, detector in zip(VOTERS, self.detectors, strict=False):
            detector.save(folder / name)
        document = {
            "ignore_from": self.ignore_from,
            "thresholds": dict(self.thresholds),
            "curves": {voter: dict(own) for voter, own in self.curves.items()},
            "measured": measured,
        }
        files.write_json(folder / CALIBRATION, document)

    @classmethod
    def load(cls, folder: Path) -> Teachers:
        """Load what `save` wrote.

        Raises:
            WeightsError: missing or damaged.
        """
        first, second = (detectors.load(folder / name) for name in VOTERS[:2])
        try:
            known = json.loads((folder / CALIBRATION).read_bytes())
            return cls((first, second), known["curves"], known["thresholds"], float(known["ignore_from"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{folder / CALIBRATION}: damaged ({error})", "Run stage teachers again.") from error


def _scaled(vote: Vote, x: float, y: float) -> Vote:
    box = vote.box
    moved = replace(box, x_px=box.x_px * x, y_px=box.y_px * y, w_px=box.w_px * x, h_px=box.h_px * y)
    return replace(vote, box=moved)


def calibrate(
    pair: tuple[Detector, Detector],
    images: np.ndarray,
    truth: Sequence[Sequence[Box]],
    precision: float,
    ignore_from: float,
) -> tuple[Teachers, dict[str, Any]]:
    """Measure two detectors on held-out frames.

    Args:
        pair: of equal classes.
        images: uint8 [N, H, W].
        truth: boxes of each image.
        precision: share of the boxes of about one score that must be right for them to be learnt.
        ignore_from: see `Teachers`.

    Returns:
        The teachers, and what was measured: AP, precision and recall by score of each alone and of what both find.
    """
    found = [one.detect(images) for one in pair]
    joint = [votes(*both) for both in zip(*found, strict=True)]
    by_voter = [[[vote.box for vote in own if vote.voter == voter] for own in joint] for voter in (0, 1, BOTH)]
    judged = {voter: _by_class(boxes, truth, pair[0].classes) for voter, boxes in zip(VOTERS, by_voter, strict=True)}
    curves: dict[str, dict[str, list[float]]] = {
        voter: {label: one.curve() for label, one in own.items()} for voter, own in judged.items()
    }
    thresholds = {label: one.threshold(precision) for label, one in judged[VOTERS[BOTH]].items()}
    teachers = Teachers(pair, curves, thresholds, ignore_from)
    alone: dict[str, Any] = {
        detector.settings.architecture: calibration.summary(_by_class(own, truth, detector.classes))
        for detector, own in zip(pair, found, strict=True)
    }
    both = calibration.summary(judged[VOTERS[BOTH]])
    return teachers, {**alone, "both": both, "labels": judge(teachers, images, truth)}


def judge(teachers: Teachers, images: np.ndarray, truth: Sequence[Sequence[Box]]) -> dict[str, dict[str, float]]:
    """Return precision and recall of the labels, and the share of objects in ignore boxes, by class and of `all`."""
    labels = teachers.label(images)
    rows: dict[str, dict[str, float]] = {}
    total = np.zeros(4)
    for label in teachers.classes:
        kept = calibration.outcomes([[box for box in own if not box.ignore] for own in labels], truth, label)
        every = calibration.outcomes(labels, truth, label)
        counts = np.array([kept.right.sum(), len(kept.right), kept.objects, every.right.sum()], np.float64)
        total += counts
        rows[label] = _rates(*counts.tolist())
    rows["all"] = _rates(*total.tolist())
    return rows


def _rates(right: float, found: float, objects: float, covered: float) -> dict[str, float]:
    return {
        "precision": right / found if found else 1.0,
        "recall": right / max(1.0, objects),
        "ignored": max(0.0, covered - right) / max(1.0, objects),
        "boxes": found,
        "objects": objects,
    }


def _by_class(
    found: Sequence[Sequence[LabelledBox]], truth: Sequence[Sequence[Box]], classes: Sequence[str]
) -> dict[str, Outcomes]:
    return {label: calibration.outcomes(found, truth, label) for label in classes}
