"""How often a detector is right, by its score, on real frames that it has not seen.

A found box is right where it overlaps an object of its class at IoU >= .5 that no surer box has taken; one that lies
for the most part in an ignore box counts neither way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from irgen.labels.boxes import SAME_IOU, iou, share_inside
from irgen.records import Box, LabelledBox

NEVER = 2.0
"""A score from which on nothing is trusted: none is so high."""
EDGE = 1e-6
"""Nearer to 0 or 1 no score is told apart."""
FEWEST = 10
"""Right boxes without which nothing is trusted, however few the wrong ones."""
TABLE_SCORES = tuple(round(0.05 * step, 2) for step in range(1, 20))
INSIDE = 0.5


@dataclass(frozen=True)
class Outcomes:
    """Boxes of one class that were found in many images, and whether they were right.

    Attributes:
        scores: raw, float64 [N], falling.
        right: bool [N].
        objects: that there were to find.
    """

    scores: np.ndarray
    right: np.ndarray
    objects: int

    def precision(self) -> np.ndarray:
        """Return the share that is right among the surest 1 .. N."""
        return self.right.cumsum() / np.arange(1, len(self.right) + 1)

    def recall(self) -> np.ndarray:
        """Return the share of objects found by the surest 1 .. N."""
        return self.right.cumsum() / max(1, self.objects)

    def average_precision(self) -> float:
        """Return AP at IoU .5, interpolated at 101 recalls (COCO)."""
        if not len(self.right) or not self.objects:
            return 0.0
        best = np.maximum.accumulate(self.precision()[::-1])[::-1]
        places = np.searchsorted(self.recall(), np.linspace(0, 1, 101))
        return float(np.append(best, 0.0)[places].mean())

    def threshold(self, precision: float) -> float:
        """Return the score at which so many are right, by `curve`, or `NEVER`.

        Not that from which on so many are right altogether: there the surest would answer for the doubtful.
        """
        slope, intercept = self.curve()
        wanted = float(logit(precision)) - intercept
        least = float(expit(wanted / slope)) if slope > 0 else NEVER if wanted > 0 else 0.0
        return least if self.right[self.scores >= least].sum() >= FEWEST else NEVER

    def table(self) -> list[dict[str, float]]:
        """Return precision and recall of what scores at least .05, .1, ..., .95."""
        rows = []
        for least in TABLE_SCORES:
            count = int((self.scores >= least).sum())
            hits = int(self.right[:count].sum())
            rows.append(
                {
                    "score": least,
                    "found": count,
                    "precision": hits / count if count else 1.0,
                    "recall": hits / max(1, self.objects),
                }
            )
        return rows

    def curve(self) -> list[float]:
        """Return how likely a box of a score is right, for `likelihood`: slope and intercept of a logistic regression.

        It is smooth, so that a threshold does not jump with a handful of boxes, and never falls. With the targets of
        Platt (1999) a few right boxes do not make certainty.
        """
        hits = int(self.right.sum())
        if not hits:
            return [0.0, float(logit(EDGE))]
        raw = _logit(self.scores)
        target = np.where(self.right, (hits + 1) / (hits + 2), 1 / (len(raw) - hits + 2))

        def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
            fit = line[0] * raw + line[1]
            off = expit(fit) - target
            return float(np.mean(np.logaddexp(0, fit) - target * fit)), np.array([np.mean(off * raw), np.mean(off)])

        found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
        return [float(one) for one in found.x]


def outcomes(found: Sequence[Sequence[LabelledBox]], truth: Sequence[Sequence[Box]], label: str) -> Outcomes:
    """Judge the boxes of one class, found in some images, by the boxes of those images."""
    scores: list[float] = []
    right: list[bool] = []
    objects = 0
    for own, real in zip(found, truth, strict=True):
        wanted = [box for box in real if box.label == label and not box.ignore]
        objects += len(wanted)
        mine = sorted((box for box in own if box.label == label), key=lambda box: -box.score)
        for box, verdict in zip(mine, _verdicts(mine, wanted, [box for box in real if box.ignore]), strict=True):
            if verdict is not None:
                scores.append(box.score)
                right.append(verdict)
    order = np.argsort(-np.array(scores), kind="stable")
    return Outcomes(np.array(scores)[order], np.array(right, bool)[order], objects)


def _verdicts(mine: Sequence[LabelledBox], wanted: Sequence[Box], ignored: Sequence[Box]) -> list[bool | None]:
    """Say of each box, surest first, whether it is right; None where that cannot be told."""
    overlap, inside = iou(mine, wanted), share_inside(mine, ignored)
    verdicts: list[bool | None] = []
    for number in range(len(mine)):
        best = int(overlap[number].argmax()) if wanted else -1
        if wanted and overlap[number, best] >= SAME_IOU:
            verdicts.append(True)
            overlap[:, best] = 0
        else:
            verdicts.append(None if ignored and inside[number].max() >= INSIDE else False)
    return verdicts


def likelihood(curve: Sequence[float], score: float) -> float:
    """Return how likely a box of a raw score is right, by the slope and intercept of `Outcomes.curve`."""
    slope, intercept = curve
    return float(expit(slope * _logit(score) + intercept))


def _logit(scores: np.ndarray | float) -> Any:
    return logit(np.clip(scores, EDGE, 1 - EDGE))


def summary(outcomes_of: Mapping[str, Outcomes]) -> dict[str, Any]:
    """Return AP and the table of each class, and their mean AP."""
    classes = {
        label: {"ap50": one.average_precision(), "objects": one.objects, "table": one.table()}
        for label, one in outcomes_of.items()
    }
    return {"ap50": float(np.mean([one["ap50"] for one in classes.values()])), "classes": classes}
