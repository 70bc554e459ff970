"""How often a detector is right, by its score, on real frames that it has not seen.

A found box is right where it overlaps an object of its class at IoU >= .5 that no surer box has taken; one that lies
for the most part in an ignore box counts neither way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from irgen.labels.boxes import SAME_IOU, iou, share_inside
from irgen.records import Box, LabelledBox

NEVER = 2.0
"""A score from which on nothing is trusted: none is so high."""
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
        """Return the least score from which on so many are right, or `NEVER`."""
        last = np.diff(self.scores, append=-np.inf) != 0  # of those of one score
        fit = np.flatnonzero(last & (self.precision() >= precision) & (self.right.cumsum() >= FEWEST))
        return float(self.scores[fit[-1]]) if len(fit) else NEVER

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

    def curve(self) -> list[list[float]]:
        """Return how likely a box of a score is right: [raw score, share], both rising, by isotonic regression."""
        if not len(self.scores):
            return [[0.0, 0.0], [1.0, 0.0]]
        rising = self.scores[::-1]
        fit = isotonic_regression(self.right[::-1].astype(np.float64)).x
        ends = np.flatnonzero(np.diff(fit, prepend=-1.0, append=2.0)[:-1] != 0)
        return [[float(rising[one]), float(fit[one])] for one in ends]


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


def likelihood(curve: Sequence[Sequence[float]], score: float) -> float:
    """Return how likely a box of a raw score is right: the last step of a curve that it reaches."""
    reached = [share for raw, share in curve if score >= raw]
    return float(reached[-1]) if reached else float(curve[0][1])


def summary(outcomes_of: Mapping[str, Outcomes]) -> dict[str, Any]:
    """Return AP and the table of each class, and their mean AP."""
    classes = {
        label: {"ap50": one.average_precision(), "objects": one.objects, "table": one.table()}
        for label, one in outcomes_of.items()
    }
    return {"ap50": float(np.mean([one["ap50"] for one in classes.values()])), "classes": classes}
