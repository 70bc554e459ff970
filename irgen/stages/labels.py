"""Stage 07: find the boxes of the generated images.

A shard of the samples is the unit of work: a killed run goes on with the shards that it had not labelled.
"""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from irgen import files, progress, starting, store
from irgen.records import LABELLED_BOX, LabelledBox
from irgen.settings import LabelsSettings
from irgen.shards import Record, parts, read_shard
from irgen.starting import Start

VERSION = 3
LABELS = "labels.parquet"
NONE, TEACHER = "none", "teacher"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("mode", pa.string()),
        ("boxes", pa.list_(LABELLED_BOX)),
        ("agreement", pa.float64()),
    ]
)
"""Of labels.parquet: a row an image that could be made."""
IMAGES_AT_ONCE = 64

Row = dict[str, Any]
Labeller = Callable[[Sequence[Record]], list[Row]]


def externals(labels: LabelsSettings) -> dict[str, str]:
    """Read nothing from outside the store."""
    return {}


def run(labels: LabelsSettings, teachers: Path, samples: Path, out: Path) -> dict[str, Any]:
    """Write `labels.parquet`.

    Args:
        labels: how.
        teachers: output of stage teachers.
        samples: output of stage samples.
        out: folder to write.

    Returns:
        mode (those of the images, joined by "+"), modes: images of each; classes; boxes: by class; ignored; agreement:
        mean over the images.

    Raises:
        StoreError: the samples are damaged.
        WeightsError: the teachers are damaged.
    """
    trained = store.read_manifest(teachers)["figures"]
    labelled = labels.mode != NONE and trained["trained"]
    labeller = _labeller(labels, teachers) if labelled else _unlabelled
    tars = parts(samples, "shards")
    done = []
    with progress.bar("labels: shards", len(tars)) as advance:
        for tar in tars:
            path = out / files.TMP / f"{tar.stem}.parquet"
            if not path.exists():
                _write(path, _rows(tar, labeller))
            done.append(path)
            advance(1)
    tables = [pq.read_table(path) for path in done]
    with files.placed(out / LABELS) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary, compression="zstd")
    return _figures(pa.concat_tables(tables).to_pylist(), trained["classes"] if labelled else [])


def _rows(tar: Path, labeller: Labeller) -> Iterator[Row]:
    records = read_shard(tar)
    while batch := list(islice(records, IMAGES_AT_ONCE)):
        yield from labeller(batch)


def _write(path: Path, rows: Iterable[Row]) -> None:
    with files.placed(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), temporary)


def _unlabelled(records: Sequence[Record]) -> list[Row]:
    return [{"key": record.key, "mode": NONE, "boxes": [], "agreement": 1.0} for record in records]


def _labeller(labels: LabelsSettings, teachers: Path) -> Labeller:
    from irgen.labels.agreeing import agreements, doubt_untold
    from irgen.labels.examples import mapped_boxes
    from irgen.labels.inheriting import inherit
    from irgen.labels.teachers import Teachers

    judge = Teachers.load(teachers)
    classes = store.read_manifest(teachers)["settings"]["teachers"]["classes"]

    def label(records: Sequence[Record]) -> list[Row]:
        images = np.stack([_pixels(record) for record in records])
        size_px = images.shape[2], images.shape[1]
        modes, found = [], []
        for record, votes in zip(records, judge.votes(images), strict=True):
            start = Start.from_sheet(record.sheet)
            if start.mode == starting.NONE or labels.mode == TEACHER:
                modes.append(TEACHER)
                found.append(judge.boxes(votes))
            else:
                modes.append(start.mode)
                before = mapped_boxes(start.boxes_px(*size_px), classes)
                found.append(inherit(before, votes, start.mode, judge.ignore_from, judge.classes))
        found = [doubt_untold(record.caption, own, judge.classes) for record, own in zip(records, found, strict=True)]
        fits = agreements([record.caption for record in records], found, *size_px, judge.classes)
        return [_row(*each) for each in zip(records, modes, found, fits, strict=True)]

    return label


def _row(record: Record, mode: str, boxes: Sequence[LabelledBox], agreement: float) -> Row:
    rows = [dataclasses.asdict(box) for box in boxes]
    return {"key": record.key, "mode": mode, "boxes": rows, "agreement": agreement}


def _pixels(record: Record) -> np.ndarray:
    with Image.open(io.BytesIO(record.image)) as image:
        return np.asarray(image.convert("RGB"))


def _figures(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    boxes = [box for row in rows for box in row["boxes"]]
    modes = Counter(row["mode"] for row in rows)
    counts = Counter(box["label"] for box in boxes if not box["ignore"])
    return {
        "mode": "+".join(sorted(modes)),
        "modes": dict(sorted(modes.items())),
        "classes": list(classes),
        "images": len(rows),
        "boxes": {name: counts[name] for name in classes},
        "ignored": len(boxes) - counts.total(),
        "agreement": sum(row["agreement"] for row in rows) / len(rows) if rows else 0.0,
    }
