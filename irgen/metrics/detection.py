"""Average precision of detections, as COCO computes it, through pycocotools; and of resamples of the images.

Lin et al., "Microsoft COCO" (ECCV 2014): AP is the mean over IoU .50, .55, ... .95 and over classes, AP50 that at .50.
Boxes to be ignored are COCO's crowds: what lies in one by its own area counts neither way.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from irgen.records import Box, LabelledBox

MOST_DETECTIONS = 100
"""An image's surest that count, of each class."""
ALL_AREAS = [[0.0, 1e10]]


class Evaluation:
    """Detections of a set of images, matched with the truth.

    Args:
        truth: boxes of each image; those to be ignored stand for every class.
        found: detections of each image, boxes of unknown classes among them are left out.
        classes: names that count.

    Raises:
        ValueError: another number of images, or a score that is not finite.
    """

    def __init__(
        self, truth: Sequence[Sequence[Box]], found: Sequence[Sequence[LabelledBox]], classes: Sequence[str]
    ) -> None:
        if len(truth) != len(found):
            raise ValueError(f"{len(truth)} images of truth, {len(found)} of detections")
        if not np.isfinite([box.score for own in found for box in own]).all():
            raise ValueError("a score that is not finite")
        self.images = len(truth)
        numbers = {name: number for number, name in enumerate(classes, 1)}
        with contextlib.redirect_stdout(io.StringIO()):
            self._judge = COCOeval(_coco(_truth(truth, numbers), numbers, len(truth)), None, "bbox")
            self._judge.cocoDt = _coco(_found(found, numbers), numbers, len(truth))
            self._judge.params.imgIds = list(range(len(truth)))
            self._judge.params.catIds = list(numbers.values())
            self._judge.params.areaRng, self._judge.params.areaRngLbl = ALL_AREAS, ["all"]
            self._judge.params.maxDets = [MOST_DETECTIONS]
            self._judge.evaluate()
        self._matched = list(self._judge.evalImgs)

    def figures(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> dict[str, float]:
        """Return {"ap50", "ap"}, 0 to 1, of the given images; nan where they have nothing to find.

        Args:
            rows: numbers of images, any of them more than once; none: each once.
        """
        chosen = range(self.images) if rows is None else [int(row) for row in rows]
        classes = len(self._judge.params.catIds)
        matched = [self._matched[number * self.images + row] for number in range(classes) for row in chosen]
        self._judge.evalImgs = matched
        # pycocotools looks its results up by the place of an image's id: places stand for the ids of a resample.
        self._judge.params.imgIds = self._judge._paramsEval.imgIds = list(range(len(chosen)))
        with contextlib.redirect_stdout(io.StringIO()):
            self._judge.accumulate()
        # [IoU, recall, class, area, detections], -1 where a class has no objects.
        precision = self._judge.eval["precision"]
        return {"ap50": _mean(precision[:1]), "ap": _mean(precision)}


def _mean(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _truth(truth: Sequence[Sequence[Box]], numbers: dict[str, int]) -> list[dict[str, Any]]:
    rows = []
    for image, own in enumerate(truth):
        for box in own:
            wanted = numbers.values() if box.ignore else filter(None, [numbers.get(box.label)])
            rows += [{**_row(image, box, number), "iscrowd": int(box.ignore)} for number in wanted]
    return [{**row, "id": number} for number, row in enumerate(rows, 1)]


def _found(found: Sequence[Sequence[LabelledBox]], numbers: dict[str, int]) -> list[dict[str, Any]]:
    rows = [
        {**_row(image, box, numbers[box.label]), "score": box.score, "iscrowd": 0}
        for image, own in enumerate(found)
        for box in own
        if box.label in numbers
    ]
    return [{**row, "id": number} for number, row in enumerate(rows, 1)]


def _row(image: int, box: Box | LabelledBox, category: int) -> dict[str, Any]:
    corner = [box.x_px, box.y_px, box.w_px, box.h_px]
    return {"image_id": image, "category_id": category, "bbox": corner, "area": box.w_px * box.h_px}


def _coco(annotations: list[dict[str, Any]], numbers: dict[str, int], images: int) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(images)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }
    coco.createIndex()
    return coco
