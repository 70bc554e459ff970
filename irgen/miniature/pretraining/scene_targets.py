"""What a scene holds, as numbers that a network can be taught to predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from irgen.captions import rules
from irgen.miniature.world import PLACES
from irgen.records import Frame

LABELS = ("person", "cyclist", "car")
CELLS = len(LABELS) * 9
FACTS = CELLS + 1 + len(PLACES)


def facts(frames: Sequence[Frame]) -> Tensor:
    """Return [N, FACTS] float32: how many (at most 2) of each class at each distance and side; night; place."""
    rows = np.zeros((len(frames), FACTS), np.float32)
    for row, frame in zip(rows, frames, strict=True):
        for group in rules.group(frame):
            distance, side = rules.DISTANCES.index(group.distance), tuple(rules.SIDES).index(group.side)
            row[LABELS.index(group.label) * 9 + distance * 3 + side] = min(group.count, 2)
        row[CELLS] = frame.time == "night"
        row[CELLS + 1 + PLACES.index(frame.place)] = 1
    return torch.from_numpy(rows)


def occupancy(frames: Sequence[Frame], rows: int, columns: int) -> Tensor:
    """Return [N, 3, rows, columns] float32: the share of each cell that boxes of each class cover, at most 1."""
    maps = np.zeros((len(frames), len(LABELS), rows, columns), np.float32)
    for covered, frame in zip(maps, frames, strict=True):
        sx, sy = columns / frame.width_px, rows / frame.height_px
        for box in frame.boxes:
            x = _overlap(box.x_px * sx, (box.x_px + box.w_px) * sx, columns)
            y = _overlap(box.y_px * sy, (box.y_px + box.h_px) * sy, rows)
            covered[LABELS.index(box.label)] += y[:, None] * x[None]
    return torch.from_numpy(maps).clamp(max=1)


def _overlap(start: float, end: float, cells: int) -> np.ndarray:
    edges = np.arange(cells + 1)
    return np.clip(np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1]), 0, 1)
