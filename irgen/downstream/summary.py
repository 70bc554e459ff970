"""Figures of a study: AP50, AP and miss rate of each arm, and what an arm gains over another, with intervals.

The 95 % intervals resample whole videos and, with the same draw for every arm, seeds; a seed decides the detector and
which real frames it sees. Three seeds show less than their whole spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from irgen import seeds
from irgen.downstream.pools import Pool
from irgen.metrics import bootstrap, missrate
from irgen.metrics.detection import Evaluation
from irgen.records import Box, LabelledBox

Cell = tuple[str, float]
"""Arm and share of real frames."""
PERSON = "person"
METRICS = ("ap50", "ap", "miss_rate")


class Judged:
    """One detector's detections on the test frames, matched.

    Args:
        test: real frames.
        found: detections of each.
        classes: that count for AP.
        setting: of the miss rate.
    """

    def __init__(
        self, test: Pool, found: Sequence[Sequence[LabelledBox]], classes: Sequence[str], setting: missrate.Setting
    ) -> None:
        self._precision = Evaluation(test.boxes, found, classes)
        self._matched = [
            missrate.match(_objects(truth), _detections(own), setting)
            for truth, own in zip(test.boxes, found, strict=True)
        ]

    def figures(self, rows: np.ndarray) -> np.ndarray:
        """Return float64 [3], `METRICS` in per cent, on the given test frames."""
        precision = self._precision.figures(rows)
        rate = missrate.log_average([self._matched[int(row)] for row in rows])
        return 100 * np.array([precision["ap50"], precision["ap"], rate])


def summarise(
    judged: Mapping[Cell, Sequence[Judged]],
    groups: Sequence[str],
    pairs: Sequence[tuple[Cell, Cell]],
    resamplings: int,
    seed: int,
) -> dict[str, Any]:
    """Sum up a study.

    Args:
        judged: of each cell a detector a seed, in the order of the seeds.
        groups: video of each test frame.
        pairs: cells of which the first's gain over the second is wanted.
        resamplings: how many.
        seed: each resample has its own stream of it.

    Returns:
        {"cells": rows of a figure and its interval, "gains": rows alike}. Gains are differences of per cents.
    """
    everything = np.arange(len(groups))
    whole = {cell: np.stack([one.figures(everything) for one in own]) for cell, own in judged.items()}
    count = min(len(own) for own in judged.values())
    draws: dict[Cell, list[np.ndarray]] = {cell: [] for cell in judged}
    for number in range(resamplings):
        rng = seeds.generator(seed, number, "downstream/bootstrap")
        rows, picked = bootstrap.resample(groups, rng), rng.integers(count, size=count)
        for cell, own in judged.items():
            figures = {int(one): own[int(one)].figures(rows) for one in set(picked)}
            draws[cell].append(np.mean([figures[int(one)] for one in picked], axis=0))
    drawn = {cell: np.stack(own) for cell, own in draws.items()}
    cells = [
        {"arm": cell[0], "share": cell[1], "by_seed": own.tolist(), **_rows(own.mean(0), drawn[cell])}
        for cell, own in whole.items()
    ]
    gains = [
        {
            "arm": first[0],
            "over": second[0],
            "share": first[1] or second[1],
            **_rows(whole[first].mean(0) - whole[second].mean(0), drawn[first] - drawn[second]),
        }
        for first, second in pairs
    ]
    return {"cells": cells, "gains": gains}


def _rows(values: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """Return value and interval of each metric; none where the test frames hold nothing of it."""
    return {
        name: {
            "value": float(values[place]),
            "ci95": bootstrap.interval(float(values[place]), drawn[:, place].tolist()),
        }
        if np.isfinite(drawn[:, place]).all()
        else None
        for place, name in enumerate(METRICS)
    }


def _objects(boxes: Sequence[Box]) -> missrate.Objects:
    own = [box for box in boxes if box.ignore or box.label == PERSON]
    corner = np.array([(box.x_px, box.y_px, box.w_px, box.h_px) for box in own], np.float64).reshape(-1, 4)
    occlusion = np.array([box.occlusion for box in own], np.int64)
    return missrate.Objects(corner, occlusion, np.array([box.ignore for box in own], bool), corner[:, 3])


def _detections(boxes: Sequence[LabelledBox]) -> missrate.Detections:
    own = [box for box in boxes if box.label == PERSON]
    corner = np.array([(box.x_px, box.y_px, box.w_px, box.h_px) for box in own], np.float64).reshape(-1, 4)
    return missrate.Detections(corner, np.array([box.score for box in own], np.float64))
