"""The scenes that the miniature's models learn from, rendered once."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irgen.miniature import scenes
from irgen.miniature.world import HEIGHT_PX, WIDTH_PX
from irgen.records import Box, Frame

SEED = 20_260
CHUNK = 512


@dataclass(frozen=True, slots=True)
class Corpus:
    """Rendered scenes.

    Attributes:
        visible_u8: [N, 80, 96, 3].
        lwir_u8: [N, 80, 96].
        frames: N frames with boxes, time and place (no paths).
    """

    visible_u8: NDArray[np.uint8]
    lwir_u8: NDArray[np.uint8]
    frames: list[Frame]

    def __len__(self) -> int:
        return len(self.frames)


def render(folder: Path, split: str, count: int, processes: int) -> None:
    """Render `count` scenes of a split into a folder, unless they are there."""
    done = folder / f"{split}.json"
    if done.exists() and len(json.loads(done.read_text())) == count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(split, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        chunks = pool.starmap(_render_chunk, jobs)
    np.save(folder / f"{split}-visible.npy", np.concatenate([c[0] for c in chunks]))
    np.save(folder / f"{split}-lwir.npy", np.concatenate([c[1] for c in chunks]))
    done.write_text(json.dumps([row for c in chunks for row in c[2]]))


def load(folder: Path, split: str) -> Corpus:
    """Read what `render` made."""
    rows = json.loads((folder / f"{split}.json").read_text())
    frames = [_frame(row["id"], row["time"], row["place"], (Box(**box) for box in row["boxes"])) for row in rows]
    return Corpus(np.load(folder / f"{split}-visible.npy"), np.load(folder / f"{split}-lwir.npy"), frames)


def _frame(name: str, time: str, place: str, boxes: Iterable[Box]) -> Frame:
    return Frame(
        id=name,
        source="miniature",
        split="train",
        set="",
        video="",
        time="night" if time == "night" else "day",
        place=place,
        visible="",
        lwir="",
        visible_sha256="",
        lwir_sha256="",
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        boxes=tuple(boxes),
    )


def _render_chunk(
    split: str, start: int, end: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[dict[str, object]]]:
    drawn = [scenes.render(SEED, f"{split}/{k}") for k in range(start, end)]
    rows: list[dict[str, object]] = [
        {
            "id": f"{split}/{k}",
            "time": scene.time,
            "place": scene.place,
            "boxes": [dataclasses.asdict(box) for box in scene.boxes],
        }
        for k, scene in zip(range(start, end), drawn, strict=True)
    ]
    return np.stack([s.visible_u8 for s in drawn]), np.stack([s.lwir_u8 for s in drawn]), rows
