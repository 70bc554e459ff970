"""Stage 08: write the finished dataset: WebDataset shards with boxes, one Parquet index over them, and the card."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from irgen import files, progress, recording, store
from irgen.errors import StoreError
from irgen.records import LABELLED_BOX, LabelledBox, Reject
from irgen.settings import ShardsSettings
from irgen.shards import Record, Sample, ShardedOutput, card, parts, read_shard
from irgen.shards.dataset import INDEX, UNLABELLED, flaw
from irgen.shards.outcome import outcome
from irgen.shards.sample import BOXES, META

VERSION = 2
LABELS = "labels.parquet"
REJECTS = "rejects"
OWN = pa.schema(
    [
        ("caption", pa.string()),
        ("label_mode", pa.string()),
        ("agreement", pa.float64()),
        (BOXES, pa.list_(LABELLED_BOX)),
    ]
)
COLUMNS = pa.unify_schemas([recording.COLUMNS, OWN])
"""Of the index, beside `shards.sample.META`: those of the samples, the caption and the labels."""


def externals(shards: ShardsSettings) -> dict[str, str]:
    """Nothing comes from outside."""
    return {}


def run(shards: ShardsSettings, frames: Path, captions: Path, samples: Path, labels: Path, out: Path) -> dict[str, Any]:
    """Write the shards that are missing, the index and the card.

    Args:
        shards: what the card says.
        frames: output of stage frames, for the card.
        captions: output of stage captions, for the card.
        samples: output of stage samples.
        labels: output of stage labels: a row (key, mode, boxes, agreement) an image.
        out: folder to write.

    Raises:
        StoreError: the samples are damaged, or the labels are of others.
    """
    tars = parts(samples, "shards")
    rows = [pq.read_table(path).to_pylist() for path in parts(samples, "meta")]
    known = {row["key"]: row for row in pq.read_table(labels / LABELS).to_pylist()}
    classes = list(store.read_manifest(labels)["figures"]["classes"])
    output = ShardedOutput.open(
        out,
        run={
            "samples": store.ref(samples).content,
            "labels": store.ref(labels).content,
            "shards": shards.model_dump(mode="json"),
        },
        items=sum(map(len, rows)),
        per_shard=len(rows[0]),
        columns=COLUMNS,
        tables={REJECTS: Reject.SCHEMA},
    )
    with progress.bar("shards", len(output.missing())) as advance:
        for number in output.pending():
            with output.shard(number) as shard:
                for sample in _samples(output.items(number), tars[number], rows[number], known, classes):
                    shard.add(sample)
            advance(1)
    totals = output.finish()
    index = _index(out)
    with files.placed(out / INDEX) as temporary:
        pq.write_table(index, temporary, compression="zstd")
    figures = {**_figures(index), **totals, "labels": label_figures(out, index, classes)}
    facts = card.gather(shards, frames, captions, samples, labels, figures, outcome(index))
    files.write_json(out / card.FACTS, facts)
    files.write_bytes(out / "README.md", card.write(facts).encode())
    return figures


def label_figures(out: Path, index: pa.Table, classes: list[str]) -> dict[str, Any]:
    """Sum up the labels of the images that could be made."""
    kept = [row for row in index.select(["status", *OWN.names]).to_pylist() if row["status"] == "ok"]
    boxes = [box for row in kept for box in row[BOXES]]
    modes = Counter(row["label_mode"] for row in kept)
    counts = Counter(box["label"] for box in boxes if not box["ignore"])
    rejects = Counter(row["reason"] for path in parts(out, REJECTS) for row in pq.read_table(path).to_pylist())
    return {
        "mode": "+".join(sorted(modes)),
        "modes": dict(sorted(modes.items())),
        "classes": classes,
        "boxes": counts.total(),
        "boxes_by_class": {name: counts[name] for name in classes},
        "ignored": len(boxes) - counts.total(),
        "rejected": dict(sorted(rejects.items())),
        "agreement": sum(row["agreement"] for row in kept) / len(kept) if kept else 0.0,
    }


def _figures(index: pa.Table) -> dict[str, int]:
    kept = sum(status == "ok" for status in index["status"].to_pylist())
    return {"images": kept, "failed": len(index) - kept}


def _samples(
    items: range, tar: Path, rows: list[dict[str, Any]], known: Mapping[str, Mapping[str, Any]], classes: list[str]
) -> Iterator[Sample]:
    """Yield a shard's items: its records in the order of its table, tombstones between them."""
    records = read_shard(tar)
    own = set(META.names)
    for index, row in zip(items, rows, strict=True):
        columns = {name: value for name, value in row.items() if name not in own}
        if row["status"] != "ok":
            columns |= {"caption": "", "label_mode": UNLABELLED, "agreement": float("nan"), BOXES: []}
            yield Sample(index, b"", "png", {}, "", columns, {REJECTS: []}, reason=row["reason"])
            continue
        record = next(records, None)
        if record is None or record.key != row["key"]:
            raise StoreError(f"{tar}: lacks image {row['key']}", "Run `irgen verify`, then stage samples again.")
        found, rejects = _labels(record, known, classes)
        sheet = {**record.sheet, **found}
        columns |= {**found, "caption": record.caption}
        yield Sample(index, record.image, record.image_format, sheet, record.caption, columns, {REJECTS: rejects})


def _labels(
    record: Record, known: Mapping[str, Mapping[str, Any]], classes: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an image's labels, boxes cut to the image, and those that are of no use.

    Raises:
        StoreError: the labels are of other images.
    """
    row = known.get(record.key)
    if row is None:
        raise StoreError(f"stage labels left out image {record.key}", "Run stage labels again.")
    with Image.open(io.BytesIO(record.image)) as image:
        size_px = image.size
    boxes, rejects = [], []
    for number, one in enumerate(row["boxes"]):
        box = _cut(LabelledBox(**one), *size_px)
        if reason := flaw(box, *size_px, classes):
            rejects.append(Reject(f"{record.key}#{number}", LABELS, *reason))
        else:
            boxes.append(dataclasses.asdict(box))
    labels = {"label_mode": row["mode"], "agreement": float(row["agreement"]), BOXES: boxes}
    return labels, [dataclasses.asdict(reject) for reject in rejects]


def _cut(box: LabelledBox, width_px: int, height_px: int) -> LabelledBox:
    """Cut a box at the image's border; one that covers nothing of the image stays as it is."""
    left, top = max(box.x_px, 0.0), max(box.y_px, 0.0)
    right, bottom = min(box.x_px + box.w_px, float(width_px)), min(box.y_px + box.h_px, float(height_px))
    if right <= left or bottom <= top:
        return box
    inside = (left, top) == (box.x_px, box.y_px) and right == box.x_px + box.w_px and bottom == box.y_px + box.h_px
    return box if inside else dataclasses.replace(box, x_px=left, y_px=top, w_px=right - left, h_px=bottom - top)


def _index(out: Path) -> pa.Table:
    """Return all rows with the shard that each lies in."""
    tables = []
    for meta, tar in zip(parts(out, "meta"), parts(out, "shards"), strict=True):
        table = pq.read_table(meta)
        tables.append(table.append_column("shard", pa.array([f"shards/{tar.name}"] * len(table), pa.string())))
    return pa.concat_tables(tables)
