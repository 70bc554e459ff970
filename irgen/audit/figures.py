"""Precision and recall of labels, from what people said of them.

A box is a *hit* if it was accepted, or moved to a place that it overlaps by `SAME_IOU` or more, its class unchanged.
*Precision* is the share of hits among the boxes that are there to be learned; *recall* the share of hits among all
objects that people see, those under ignore boxes and without any box included. Whoever trains with ignore boxes is not
harmed by an object under one: `recall_apart_from_ignored` leaves those out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from irgen.audit.answers import Answer, Answers, Labels, Place
from irgen.labels.boxes import SAME_IOU, iou
from irgen.records import LabelledBox

LEVEL = 0.95
SCORES = (0.5, 0.6, 0.7, 0.8, 0.9)
AGREEMENTS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Judged:
    """An image that somebody is done with: its boxes, their agreement with the caption, and what was said."""

    boxes: tuple[LabelledBox, ...]
    agreement: float
    answer: Answer


@dataclass(frozen=True)
class _Counts:
    """Of one image: hits, boxes to learn, objects seen, and those of them under ignore boxes."""

    hits: int
    boxes: int
    objects: int
    under_ignored: int


def judged(answers: Mapping[str, Answer], labels: Mapping[str, Labels]) -> list[Judged]:
    """Return the images of `labels` that somebody is done with."""
    return [
        Judged(labels[key].boxes, labels[key].agreement, answer)
        for key, answer in answers.items()
        if answer.done and key in labels
    ]


def measure_answers(answers: Answers) -> dict[str, Any]:
    """Return what the finished images of an audit say; see `measure`."""
    return measure(judged(answers.answers, answers.labels))


def measure(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the figures of an audit.

    Returns:
        images, boxes, accepted, fixed, rejected, added, ignored (boxes to ignore) and of those `ignored_objects`;
        precision, recall and recall_apart_from_ignored as `proportion` has them; the same of each class in `by_class`,
        and at each threshold of scores and of agreement in `by_score` and `by_agreement`.
    """
    trusted = [said for one in judged for box, said in _pairs(one) if not box.ignore]
    ignored = [said for one in judged for box, said in _pairs(one) if box.ignore]
    verdicts = [said.verdict for said in trusted]
    return {
        "images": len(judged),
        "boxes": len(trusted),
        "accepted": verdicts.count("accept"),
        "fixed": verdicts.count("fix"),
        "rejected": verdicts.count("reject"),
        "added": sum(len(one.answer.added) for one in judged),
        "ignored": len(ignored),
        "ignored_objects": sum(said.verdict != "reject" for said in ignored),
        "iou": SAME_IOU,
        **_figures(judged, 0.0),
        "by_class": [{"label": label, **_figures(judged, 0.0, label)} for label in _labels(judged)],
        "by_score": [{"min_score": score, **_figures(judged, score)} for score in SCORES],
        "by_agreement": [
            {"min_agreement": least, "images": len(taken), **_figures(taken, 0.0)}
            for least in AGREEMENTS
            for taken in [[one for one in judged if one.agreement >= least]]
        ],
    }


def proportion(hits: Sequence[int], totals: Sequence[int]) -> dict[str, Any]:
    """Return a share with its 95 % interval.

    Wilson's interval (1927), for as many independent trials as the trials of the images are worth: their number
    divided by the design effect (Kish 1965), the variance of the ratio between images over that of single trials.

    Args:
        hits: of each image.
        totals: trials of each image.

    Returns:
        value (None where there were no trials), n (trials) and interval.
    """
    n = sum(totals)
    if n == 0:
        return {"value": None, "n": 0, "interval": [0.0, 1.0]}
    share = sum(hits) / n
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    worth = n / _design_effect(hits, totals, share)
    centre = (share + z * z / (2 * worth)) / (1 + z * z / worth)
    half = z * math.sqrt(share * (1 - share) / worth + (z / (2 * worth)) ** 2) / (1 + z * z / worth)
    # Rounding must not put the share itself outside.
    interval = [min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)]
    return {"value": share, "n": n, "interval": interval}


def _design_effect(hits: Sequence[int], totals: Sequence[int], share: float) -> float:
    images = sum(total > 0 for total in totals)
    single = share * (1 - share) / sum(totals)
    if images < 2 or single == 0:
        return 1.0
    spread = sum((hit - share * total) ** 2 for hit, total in zip(hits, totals, strict=True))
    return max(1.0, images / (images - 1) * spread / sum(totals) ** 2 / single)


def _figures(judged: Sequence[Judged], min_score: float, label: str | None = None) -> dict[str, Any]:
    counts = [_count(one, min_score, label) for one in judged]
    hits = [each.hits for each in counts]
    return {
        "precision": proportion(hits, [each.boxes for each in counts]),
        "recall": proportion(hits, [each.objects for each in counts]),
        "recall_apart_from_ignored": proportion(hits, [each.objects - each.under_ignored for each in counts]),
    }


def _count(one: Judged, min_score: float, label: str | None) -> _Counts:
    """Count boxes and objects of a class, or of all."""
    hits = boxes = objects = under_ignored = 0
    for box, said in _pairs(one):
        seen = said.verdict != "reject" and label in (None, said.place.label)
        objects += seen
        if box.ignore or box.score < min_score:
            under_ignored += seen
        elif label in (None, box.label):
            boxes += 1
            hits += said.verdict == "accept" or (said.verdict == "fix" and _same(box, said.place))
    missed = sum(label in (None, place.label) for place in one.answer.added)
    return _Counts(hits, boxes, objects + missed, under_ignored)


def _labels(judged: Sequence[Judged]) -> list[str]:
    found = {box.label for one in judged for box in one.boxes}
    return sorted(found | {place.label for one in judged for place in _places(one.answer)})


def _places(answer: Answer) -> list[Place]:
    return [*(said.place for said in answer.verdicts), *answer.added]


def _same(box: LabelledBox, place: Place) -> bool:
    moved = LabelledBox(**place.model_dump(), score=1.0, source="", teacher_iou=0.0, ignore=False)
    return moved.label == box.label and bool(iou([box], [moved])[0, 0] >= SAME_IOU)


def _pairs(one: Judged) -> list[Any]:
    return list(zip(one.boxes, one.answer.verdicts, strict=True))
