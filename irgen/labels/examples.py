"""What detectors learn from and are calibrated on: real LWIR frames and their boxes, by the classes that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from irgen import images, records, seeds, sources
from irgen.errors import SourceError
from irgen.progress import bar
from irgen.records import Box, Frame, Split
from irgen.settings import IGNORE

READ_AT_ONCE = 64


@dataclass(frozen=True)
class Examples:
    """Frames of one split.

    Attributes:
        frames: with boxes by the wanted classes, in the pixels of `lwir_u8`.
        lwir_u8: uint8 [N, H, W].
    """

    frames: tuple[Frame, ...]
    lwir_u8: np.ndarray

    @property
    def boxes(self) -> list[tuple[Box, ...]]:
        """Of each frame."""
        return [frame.boxes for frame in self.frames]


def read(
    frames: Path, split: Split, most: int, classes: Mapping[str, str], size_px: tuple[int, int], seed: int
) -> Examples:
    """Read LWIR frames of a split, resized to one size.

    Args:
        frames: output of stage frames.
        split: which.
        most: frames at most; of more, a seeded choice.
        classes: see `TeachersSettings.classes`.
        size_px: width and height of the images that are to be labelled.
        seed: of the choice.

    Raises:
        SourceError: no frame of the split has LWIR, none of the train frames has a box, or an image cannot be read.
    """
    known = [frame for frame in records.read_rows(frames / "frames.parquet", Frame) if frame.split == split]
    usable = [frame for frame in known if frame.lwir]
    if not usable or not any(frame.boxes for frame in usable):
        raise SourceError(
            f"{frames}: of its {len(usable)} {split} frames with LWIR none has a box, from which detectors learn",
            "Give frames.annotations, or leave labels out with `labels: {mode: none}`.",
        )
    order = sorted(seeds.generator(seed, split, "detector-frames").permutation(len(usable))[:most])
    chosen = [_mapped(_scaled(usable[one], *size_px), classes) for one in order]
    return Examples(tuple(chosen), _pixels([usable[one] for one in order], sources.root_of(frames), split, size_px))


def mapped_boxes(boxes: Sequence[Box], classes: Mapping[str, str]) -> tuple[Box, ...]:
    """Rename boxes as the settings say; those of a class that is mapped to `ignore` are to be ignored."""
    known = []
    for box in boxes:
        name = classes.get(box.label, box.label)
        known.append(replace(box, ignore=True) if name == IGNORE else replace(box, label=name))
    return tuple(known)


def _mapped(frame: Frame, classes: Mapping[str, str]) -> Frame:
    return replace(frame, boxes=mapped_boxes(frame.boxes, classes))


def _scaled(frame: Frame, width_px: int, height_px: int) -> Frame:
    x, y = width_px / frame.width_px, height_px / frame.height_px
    boxes = tuple(
        replace(box, x_px=box.x_px * x, y_px=box.y_px * y, w_px=box.w_px * x, h_px=box.h_px * y) for box in frame.boxes
    )
    return replace(frame, width_px=width_px, height_px=height_px, boxes=boxes)


def _pixels(frames: Sequence[Frame], root: Path, split: str, size_px: tuple[int, int]) -> np.ndarray:
    width_px, height_px = size_px
    pixels = np.empty((len(frames), height_px, width_px), np.uint8)

    def read_one(frame: Frame) -> np.ndarray:
        return images.resize(images.read_gray(root / frame.lwir), width_px, height_px)

    with bar(f"reading {split} LWIR", len(frames)) as advance, ThreadPoolExecutor() as pool:
        for start in range(0, len(frames), READ_AT_ONCE):
            batch = frames[start : start + READ_AT_ONCE]
            for number, image in enumerate(pool.map(read_one, batch), start):
                pixels[number] = image
            advance(len(batch))
    return pixels
