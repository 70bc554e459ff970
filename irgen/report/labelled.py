"""What the report says of labels: how many boxes, how far they stand out, and whether they fit the captions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from irgen import seeds
from irgen.metrics import bootstrap, pixels
from irgen.records import Frame
from irgen.report.sets import ImageSet
from irgen.shards.dataset import INDEX

PEOPLE = ("person", "cyclist")
TIMES = {"day": "by day", "night": "at night", "": "at an unknown time"}


@dataclass(frozen=True)
class _Found:
    """A box as a sheet has it."""

    x_px: float
    y_px: float
    w_px: float
    h_px: float


def figures(shards_folder: Path) -> dict[str, Any]:
    """Sum up the labels of a finished dataset.

    Returns:
        mode (none where there are no labels), boxes by label, ignored, per_image, agreement: mean with the captions,
        empty: share of images without a box.
    """
    rows = list(_rows(shards_folder).values())
    modes = Counter(row["label_mode"] for row in rows)
    if not set(modes) - {"none"}:
        return {"mode": "none"}
    boxes = [box for row in rows for box in row["boxes"]]
    counted = Counter(box["label"] for box in boxes if not box["ignore"])
    return {
        "mode": " + ".join(sorted(modes)),
        "images": len(rows),
        "boxes": dict(sorted(counted.items())),
        "ignored": sum(box["ignore"] for box in boxes),
        "per_image": len(boxes) / len(rows),
        "empty": sum(not row["boxes"] for row in rows) / len(rows),
        "agreement": float(np.mean([row["agreement"] for row in rows])),
    }


def contrasts(
    frames: Mapping[str, Frame], real: ImageSet, kept: ImageSet, shards_folder: Path, *, resamplings: int, seed: int
) -> list[dict[str, Any]]:
    """Compare how far people stand out from what is around them, in real frames and in the dataset, by time of day.

    Args:
        frames: real ones with their boxes, by id.
        real: chosen real frames.
        kept: chosen images of the dataset.
        shards_folder: the dataset; its sheets have the boxes.
        resamplings: for intervals.
        seed: of them.

    Returns:
        Rows: images ("real" or "guided"), time, count (images with such a box), value in grey levels, low, high.
    """
    of_kept = {
        key: [_Found(*(box[side] for side in ("x_px", "y_px", "w_px", "h_px"))) for box in row["boxes"] if _counts(box)]
        for key, row in _rows(shards_folder).items()
    }
    of_real = {key: [box for box in frames[key].boxes if box.label in PEOPLE and not box.ignore] for key in real.keys}
    rows = []
    for one, own in ((real, of_real), (kept, of_kept)):
        by_time: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for time, group, value in _means(one, own):
            by_time[time].append((group, value))
        rows += [_row(one.name, time, values, resamplings, seed) for time, values in sorted(by_time.items())]
    return rows


def _rows(shards_folder: Path) -> dict[str, dict[str, Any]]:
    """Return the labels of all images that could be made, by key."""
    table = pq.read_table(shards_folder / INDEX, columns=["key", "status", "label_mode", "agreement", "boxes"])
    return {row["key"]: row for row in table.to_pylist() if row["status"] == "ok"}


def _counts(box: Mapping[str, Any]) -> bool:
    return box["label"] in PEOPLE and not box["ignore"]


def _means(one: ImageSet, boxes: Mapping[str, Sequence[pixels.Placed]]) -> Iterator[tuple[str, str, float]]:
    """Yield time, group to be resampled with, and mean contrast of each image that has people in boxes."""
    for key, time, group, image in zip(one.keys, one.times, one.groups, one, strict=True):
        values = [pixels.box_contrast(image, box) for box in boxes.get(key, ())]
        found = [value for value in values if np.isfinite(value)]
        if found:
            yield time, group, float(np.mean(found))


def _row(name: str, time: str, values: Sequence[tuple[str, float]], resamplings: int, seed: int) -> dict[str, Any]:
    groups, array = [group for group, _ in values], np.array([value for _, value in values])
    draws = [
        float(array[bootstrap.resample(groups, rng)].mean())
        for rng in (seeds.generator(seed, number, "report/contrast") for number in range(resamplings))
    ]
    mean = float(array.mean())
    row: dict[str, Any] = {"images": name, "time": TIMES[time], "count": len(values), "value": mean}
    if draws:
        low, high = bootstrap.interval(mean, draws)
        row |= {"low": low, "high": high}
    return row
