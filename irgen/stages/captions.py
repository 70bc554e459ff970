"""Stage 02: choose frames, and say in words what each shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen import digests, files, weights
from irgen.errors import SourceError
from irgen.settings import CaptionsSettings

if TYPE_CHECKING:
    from irgen.records import Caption, Frame

VERSION = 1
IMAGES_AT_ONCE = 8


def externals(captions: CaptionsSettings) -> dict[str, str]:
    """Name the vision-language model's weights, where one is used."""
    if not captions.vlm_model:
        return {}
    folder = Path(captions.vlm_model).expanduser()
    return {"vlm": digests.digest(folder) if folder.is_dir() else weights.identity(captions.vlm_model)}


def run(captions: CaptionsSettings, frames: Path, out: Path) -> dict[str, Any]:
    """Write `captions.parquet`, sorted by split and frame.

    Returns:
        `captions` by split, `mean_tokens`, `shortened` and `origins`, counts by how captions were made.

    Raises:
        SourceError: no train frame has LWIR, or an image cannot be read.
        WeightsError: the vision-language model cannot be loaded.
    """
    from irgen.captions.choosing import choose
    from irgen.captions.rules import caption
    from irgen.captions.tokens import count_tokens
    from irgen.progress import bar
    from irgen.records import Caption, Frame, read_rows, write_rows

    known = read_rows(frames / "frames.parquet", Frame)
    limits = {"train": captions.train_frames, "val": captions.val_frames, "test": captions.test_frames}
    chosen = [
        frame
        for split, limit in limits.items()
        for frame in choose([frame for frame in known if frame.split == split], limit, captions.seed)
    ]
    if not any(frame.split == "train" for frame in chosen):
        raise SourceError(
            f"{frames}: none of its {len(known)} frames is in the train split and has LWIR",
            "Check frames.root, frames.image_sets and frames.test_fraction.",
        )
    annotated = any(frame.boxes for frame in known)
    rows = []
    with bar("captions", len(chosen)) as advance:
        for frame in chosen:
            rows.append(caption(frame, captions.seed, count_tokens, captions.max_tokens, annotated=annotated))
            advance(1)
    if captions.captioner == "vlm":
        rows = _merged(captions, frames, out, chosen, rows, annotated)
    write_rows(out / "captions.parquet", rows, Caption.SCHEMA)
    return {
        "captions": dict(Counter(row.split for row in rows)),
        "mean_tokens": round(sum(row.tokens for row in rows) / len(rows), 2),
        "shortened": sum(row.shortened for row in rows),
        "origins": dict(sorted(Counter(row.origin for row in rows).items())),
    }


def _merged(
    captions: CaptionsSettings,
    frames: Path,
    out: Path,
    chosen: Sequence[Frame],
    rows: Sequence[Caption],
    annotated: bool,
) -> list[Caption]:
    """Add a vision-language model's words where it is day: at night a visible frame says little."""
    from irgen import sources
    from irgen.captions.merging import merge
    from irgen.captions.tokens import count_tokens

    seen = [frame for frame in chosen if frame.visible and frame.time == "day"]
    words = _describe(captions.vlm_model, seen, sources.root_of(frames), out / files.TMP / "descriptions")
    return [
        merge(row, words[row.frame_id], count_tokens, captions.max_tokens, annotated=annotated)
        if row.frame_id in words
        else row
        for row in rows
    ]


def _describe(model: str, frames: Sequence[Frame], raw: Path, scratch: Path) -> dict[str, str]:
    """Describe frames by id. A finished batch is kept under `scratch`, where an interrupted run finds it again."""
    from irgen import devices, images
    from irgen.captions.vlm import VlmCaptioner
    from irgen.progress import bar

    words: dict[str, str] = {}
    captioner = VlmCaptioner(model, devices.device())
    with bar("describing", len(frames)) as advance:
        for start in range(0, len(frames), IMAGES_AT_ONCE):
            batch = frames[start : start + IMAGES_AT_ONCE]
            done = scratch / f"{start:09d}.json"
            if not done.exists():
                texts = captioner.describe([images.read_rgb(raw / frame.visible) for frame in batch])
                files.write_json(done, texts)
            words |= zip((frame.id for frame in batch), json.loads(done.read_bytes()), strict=True)
            advance(len(batch))
    return words
