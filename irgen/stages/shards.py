"""Stage 08: write the finished dataset: WebDataset shards, one Parquet index over them, and the card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files, progress, store
from irgen.errors import StoreError
from irgen.settings import ShardsSettings
from irgen.shards import Sample, ShardedOutput, card, parts, read_shard
from irgen.shards.sample import META
from irgen.stages.samples import COLUMNS

VERSION = 1
INDEX = "index.parquet"


def externals(shards: ShardsSettings) -> dict[str, str]:
    """Nothing comes from outside."""
    return {}


def run(shards: ShardsSettings, frames: Path, captions: Path, samples: Path, out: Path) -> dict[str, Any]:
    """Write the shards that are missing, the index and the card.

    Args:
        shards: what the card says.
        frames: output of stage frames, for the card.
        captions: output of stage captions, for the card.
        samples: output of stage samples.
        out: folder to write.

    Raises:
        StoreError: the samples are damaged.
    """
    tars = parts(samples, "shards")
    rows = [pq.read_table(path).to_pylist() for path in parts(samples, "meta")]
    output = ShardedOutput.open(
        out,
        run={"samples": store.ref(samples).content, "shards": shards.model_dump(mode="json")},
        items=sum(map(len, rows)),
        per_shard=len(rows[0]),
        columns=COLUMNS,
    )
    with progress.bar("shards", len(output.missing())) as advance:
        for number in output.pending():
            with output.shard(number) as shard:
                for sample in _samples(output.items(number), tars[number], rows[number]):
                    shard.add(sample)
            advance(1)
    totals = output.finish()
    index = _index(out)
    with files.placed(out / INDEX) as temporary:
        pq.write_table(index, temporary, compression="zstd")
    kept = sum(status == "ok" for status in index["status"].to_pylist())
    figures = {"images": kept, "failed": len(index) - kept, **totals}
    text = card.write(shards, frames, captions, samples, figures)
    files.write_bytes(out / "README.md", text.encode())
    return figures


def _samples(items: range, tar: Path, rows: list[dict[str, Any]]) -> Iterator[Sample]:
    """Yield a shard's items: its records in the order of its table, tombstones between them."""
    records = read_shard(tar)
    own = set(META.names)
    for index, row in zip(items, rows, strict=True):
        columns = {name: value for name, value in row.items() if name not in own}
        if row["status"] != "ok":
            yield Sample(index, b"", "png", {}, "", columns, reason=row["reason"])
            continue
        record = next(records, None)
        if record is None or record.key != row["key"]:
            raise StoreError(f"{tar}: lacks image {row['key']}", "Run `irgen verify`, then stage samples again.")
        yield Sample(index, record.image, record.image_format, record.sheet, record.caption, columns)


def _index(out: Path) -> pa.Table:
    """Return all rows with the shard that each lies in."""
    tables = []
    for meta, tar in zip(parts(out, "meta"), parts(out, "shards"), strict=True):
        table = pq.read_table(meta)
        tables.append(table.append_column("shard", pa.array([f"shards/{tar.name}"] * len(table), pa.string())))
    return pa.concat_tables(tables)
