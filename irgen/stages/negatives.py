"""Stage 03: make images that are not real infrared from the captioned frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irgen.settings import NegativesSettings

VERSION = 1


def externals(negatives: NegativesSettings) -> dict[str, str]:
    """Read nothing from outside the store."""
    return {}


def run(negatives: NegativesSettings, frames: Path, captions: Path, out: Path) -> dict[str, Any]:
    """Write `negatives.parquet` and its images, `<kind>/<split>/<frame id>.png`.

    Returns:
        `images`, how many by kind and split; `left_out`, by kind, how many frames lack the image it is made from.

    Raises:
        SourceError: no negative can be made, or an image cannot be read.
    """
    from irgen import sources
    from irgen.negatives import write_all
    from irgen.records import Caption, Frame, Negative, read_rows, write_rows

    captioned = {caption.frame_id for caption in read_rows(captions / "captions.parquet", Caption)}
    chosen = [frame for frame in read_rows(frames / "frames.parquet", Frame) if frame.id in captioned]
    rows, left_out = write_all(chosen, negatives.kinds, negatives.seed, sources.root_of(frames), out)
    write_rows(out / "negatives.parquet", rows, Negative.SCHEMA)
    made = {kind: [row.split for row in rows if row.kind == kind] for kind in negatives.kinds}
    return {
        "images": {
            kind: {split: splits.count(split) for split in sorted(set(splits))} for kind, splits in made.items()
        },
        "left_out": left_out,
    }
