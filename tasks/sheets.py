"""What a samples output looks like: its scores, and its images beside the real ones and those without guidance."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from irgen import shards, store
from irgen.errors import StoreError
from irgen.records import Frame, read_rows
from irgen.sources import root_of
from tasks import markdown

ROWS = 6
SCORES = ("key", "status", "score", "unguided_score", "spread", "candidate", "nfe", "prompt")
TILE_PX = 96


def scores(samples: Path, rows: int = 16) -> str:
    """Write the scores of the first images as a table."""
    meta = shards.table(samples).head(rows)
    return markdown.table(SCORES, [tuple(row[name] for name in SCORES) for row in meta.to_dict("records")])


def contrasts(samples: Path, rows: int = ROWS) -> str:
    """Show for the first prompts the real frame, the unguided image, the kept one and the one with the lowest score."""
    meta = shards.table(samples)
    chosen = meta[meta["status"] == "ok"].head(rows).to_dict("records")
    keys = [row["key"] for row in chosen]
    filters = [("key", "in", keys)]
    paths = shards.parts(samples, "contrasts")
    found = [row for path in paths for row in pq.read_table(path, filters=filters).to_pylist()] if keys else []
    beside = {(row["key"], row["kind"]): row["png"] for row in found}
    real = _real(samples)
    lines = []
    for row in chosen:
        kept = Image.open(io.BytesIO(shards.image(samples, row["key"])))
        cells = [real.get(row["frame_id"]), beside.get((row["key"], "unguided")), kept]
        cells.append(beside.get((row["key"], "worst")))
        lines.append((row["key"], *(_tile(cell) for cell in cells)))
    return markdown.table(("key", "real", "unguided", "guided", "lowest score"), lines)


def _real(samples: Path) -> dict[str, Path]:
    """Return the LWIR images of the frames that the captions came from, where they are there."""
    root = samples.parents[1]
    captions = _made(root / "02-captions", store.read_manifest(samples)["inputs"]["captions"])
    frames = captions and _made(root / "01-frames", store.read_manifest(captions)["inputs"]["frames"])
    if not frames:
        return {}
    folder = root_of(frames)
    rows = read_rows(frames / "frames.parquet", Frame)
    return {frame.id: folder / frame.lwir for frame in rows if frame.lwir}


def _made(folder: Path, content: str) -> Path | None:
    """Return the output with that content."""
    for path in folder.glob(f"*/{store.MANIFEST}"):
        with contextlib.suppress(StoreError):  # of another run
            if store.read_manifest(path.parent)["content"] == content:
                return path.parent
    return None


def _tile(source: Any) -> str:
    if source is None or (isinstance(source, Path) and not source.exists()):
        return ""
    if isinstance(source, Image.Image):
        return markdown.embedded("guided", source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        image.thumbnail((TILE_PX * 2, TILE_PX * 2))
        return markdown.embedded("image", image)
