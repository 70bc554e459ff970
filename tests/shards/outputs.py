"""A small sharded output, and the tools to look at it."""

import io
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from irgen import store
from irgen.shards import Sample, ShardedOutput, begin

COLUMNS = pa.schema([("score", pa.float64()), ("seed", pa.string())])
NOTES = pa.schema([("key", pa.string()), ("note", pa.string())])
ITEMS, PER_SHARD = 11, 3
FAILED = 4


def png(index: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), index, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def sample(index: int) -> Sample:
    row = {"score": index / 4, "seed": str(2**100 + index)}
    notes = {"notes": [{"key": f"{index:09d}", "note": "n"}]}
    if index == FAILED:
        return Sample(index, b"", "png", {}, "", row, notes, "all candidates dead")
    # Whole numbers in the first samples: readers that infer a schema from them must still see floats.
    sheet = {"score": float(index) if index < 6 else index + 0.5, "seed": row["seed"], "noise": {"cosine": 0.5}}
    return Sample(index, png(index), "png", sheet, f"caption {index}", row, notes)


def opened(folder: Path, exchange: str = "", **changes) -> ShardedOutput:
    arguments = {"run": {"of": "test"}, "items": ITEMS, "per_shard": PER_SHARD, "columns": COLUMNS}
    return begin(folder, exchange, **(arguments | {"tables": {"notes": NOTES}} | changes))


def add(output: ShardedOutput, number: int) -> None:
    with output.shard(number) as shard:
        for index in output.items(number):
            shard.add(sample(index))


def seal(folder: Path) -> None:
    """Make a manifest that agrees with the files: the end of a stage, or a thorough forger."""
    store.write_manifest(folder, {"stage": "samples", "figures": {}}, store.listing(folder))


def fill(folder: Path, *, pause_s: float = 0.0, **changes) -> None:
    """Do as a stage does; say each shard and item where somebody waits for them."""
    output = opened(folder, **changes)
    for number in output.pending():
        with output.shard(number) as shard:
            for index in output.items(number):
                if pause_s:
                    print(f"shard {number} item {index}", flush=True)
                    time.sleep(pause_s)
                shard.add(sample(index))
    output.finish()
    seal(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tars(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.tar"))


def rewrite(path: Path, change) -> None:
    """Change the list of a tar's members, (name, data) each."""
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
