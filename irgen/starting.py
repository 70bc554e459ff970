"""Which images start from a real frame, from which, and what of its boxes they have before anyone looks at them.

`inherit`: an image starts from the train frame whose caption it has, partly noised, and its boxes are the frame's.
`insert`: an object is drawn into a train frame without people, inside a box that another frame has at that place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from irgen import images, records, seeds, sources, store
from irgen.captions import rules
from irgen.errors import SourceError
from irgen.records import Box, Frame
from irgen.settings import CaptionsSettings, StartSettings

if TYPE_CHECKING:
    import torch

    from irgen.generators import Engine
    from irgen.search import Generator
    from irgen.search.started import Started

Mode = Literal["none", "inherit", "insert"]
NONE: Mode = "none"
INSERT: Mode = "insert"
PEOPLE = frozenset({"person", "people", "person?", "cyclist"})
INSERTED = frozenset({"person", "cyclist"})
MARGIN = 0.12
"""Of its extent, by which the region that is drawn anew reaches over an inserted box on each side."""
LEAST_SHARE = 0.12
"""Height of an inserted box in the image, at least: far objects are smaller than what a latent can hold."""


@dataclass(frozen=True, slots=True)
class Start:
    """What one image starts from.

    Attributes:
        mode: `none` for noise.
        frame_id: the frame, "" for none.
        boxes: what is there before it is looked at, in shares of the image: x, y, w, h in 0..1; an inserted one last.
    """

    mode: Mode = NONE
    frame_id: str = ""
    boxes: tuple[Box, ...] = ()

    def columns(self) -> dict[str, str]:
        """Return what score sheets and tables say of it; boxes in words, since most samples have none."""
        boxes = json.dumps([dataclasses.asdict(box) for box in self.boxes])
        return {"start": self.mode, "start_frame": self.frame_id, "start_boxes": boxes}

    @classmethod
    def from_sheet(cls, sheet: Mapping[str, Any]) -> Start:
        """Read what `columns` wrote into a score sheet."""
        boxes = tuple(Box(**box) for box in json.loads(sheet["start_boxes"]))
        return cls(sheet["start"], sheet["start_frame"], boxes)

    def boxes_px(self, width_px: int, height_px: int) -> list[Box]:
        """Return the boxes in an image's pixels."""
        return [_scaled(box, width_px, height_px) for box in self.boxes]


FROM_NOISE = Start()


class Starts:
    """The starts of a dataset's images.

    Args:
        settings: shares and strengths.
        seed: of the dataset.
        frames: output of stage frames.

    Raises:
        SourceError: there is no frame to insert into, or nothing to insert.
    """

    def __init__(self, settings: StartSettings, seed: int, frames: Path) -> None:
        self._settings = settings
        self._seed = seed
        known = records.read_rows(frames / "frames.parquet", Frame)
        self._frames = {frame.id: frame for frame in known if frame.split == "train" and frame.lwir}
        self._root = sources.root_of(frames)
        ordered = [self._frames[name] for name in sorted(self._frames)]
        self._empty = [frame for frame in ordered if not any(box.label in PEOPLE for box in frame.boxes)]
        self._insertable = [
            (frame.place, box)
            for frame in ordered
            for box in (_shares(one, frame) for one in frame.boxes)
            if box.label in INSERTED and not box.occlusion and not box.ignore and box.h_px >= LEAST_SHARE
        ]
        if settings.insert and not (self._empty and self._insertable):
            raise SourceError(
                f"{frames}: {len(self._empty)} train frames without people, {len(self._insertable)} people to insert",
                "Set samples.start.insert to 0.",
            )

    def choose(self, index: int, frame_id: str) -> Start:
        """Choose what an image starts from.

        Args:
            index: the image's number in the dataset.
            frame_id: of its caption.
        """
        drawn = seeds.generator(self._seed, index, "start")
        share = drawn.random()
        if share < self._settings.inherit and frame_id in self._frames:
            frame = self._frames[frame_id]
            return Start("inherit", frame_id, tuple(_shares(box, frame) for box in frame.boxes))
        if share >= 1 - self._settings.insert:
            frame = self._empty[drawn.integers(len(self._empty))]
            alike = [box for place, box in self._insertable if place == frame.place] or [b for _, b in self._insertable]
            inserted = alike[drawn.integers(len(alike))]
            return Start(INSERT, frame.id, (*(_shares(box, frame) for box in frame.boxes), inserted))
        return FROM_NOISE

    def caption(self, start: Start, captions: Path) -> str:
        """Describe the frame that an insertion makes of another, as stage captions, whose output is given, would."""
        from irgen.captions.tokens import count_tokens

        settings = CaptionsSettings.model_validate(store.read_manifest(captions)["settings"]["captions"])
        frame = self._frames[start.frame_id]
        made = dataclasses.replace(frame, boxes=tuple(start.boxes_px(frame.width_px, frame.height_px)))
        return rules.caption(made, settings.seed, count_tokens, settings.max_tokens).caption

    def generator(self, generator: Generator[Any], starts: Sequence[Start]) -> Generator[Any] | Started:
        """Return the generator for prompts that start from these, all of one mode."""
        if starts[0].mode == NONE:
            return generator
        engine: Engine = generator  # type: ignore[assignment]
        return started(engine, starts, [self._pixels(start.frame_id) for start in starts], self._settings)

    def _pixels(self, frame_id: str) -> np.ndarray:
        return images.read_gray(self._root / self._frames[frame_id].lwir)


def started(engine: Engine, starts: Sequence[Start], lwir_u8: Sequence[np.ndarray], settings: StartSettings) -> Started:
    """Return a generator that starts from images.

    Args:
        engine: to take over.
        starts: all of one mode, not `none`.
        lwir_u8: their frames, uint8 [H, W] of any size.
        settings: strengths.
    """
    import torch

    from irgen.search.started import Started

    height_px, width_px = engine.family.image_size_px
    latents = engine.latents_of(np.stack([images.resize(one, width_px, height_px) for one in lwir_u8]))
    insert = starts[0].mode == INSERT
    strength = settings.insert_strength if insert else settings.strength
    first = min(max(round(engine.steps * (1 - strength)), 1), engine.steps - 1)
    masks = torch.stack([_mask(one.boxes[-1], engine.latent_shape) for one in starts]) if insert else None
    return Started(engine, latents, masks, first)


def _mask(box: Box, latent_shape: tuple[int, ...]) -> torch.Tensor:
    """Return float32 [1, h, w], 1 in all cells that a box and its margin touch."""
    import torch

    _, height, width = latent_shape
    mask = torch.zeros(1, height, width)
    x, y = MARGIN * box.w_px, MARGIN * box.h_px
    rows = slice(int(max(0, np.floor((box.y_px - y) * height))), int(np.ceil((box.y_px + box.h_px + y) * height)))
    columns = slice(int(max(0, np.floor((box.x_px - x) * width))), int(np.ceil((box.x_px + box.w_px + x) * width)))
    mask[:, rows, columns] = 1
    return mask


def _shares(box: Box, frame: Frame) -> Box:
    return _scaled(box, 1 / frame.width_px, 1 / frame.height_px)


def _scaled(box: Box, x: float, y: float) -> Box:
    return dataclasses.replace(box, x_px=box.x_px * x, y_px=box.y_px * y, w_px=box.w_px * x, h_px=box.h_px * y)
