"""What the arms of a study train on and are judged on: real frames, grayscale of visible frames, generated images."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from irgen import images, records, seeds, sources
from irgen.downstream.settings import DownstreamSettings, Generated
from irgen.errors import StoreError
from irgen.labels import examples
from irgen.labels.detectors import to_gray
from irgen.progress import bar
from irgen.records import Box, Frame
from irgen.shards.dataset import Dataset, Thresholds


@dataclass(frozen=True)
class Pool:
    """Images with their boxes.

    Attributes:
        images_u8: uint8 [N, H, W].
        boxes: of each image, in its pixels.
        groups: video of each image; its own name where it has none.
    """

    images_u8: np.ndarray
    boxes: tuple[tuple[Box, ...], ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images_u8)

    def take(self, rows: Sequence[int] | np.ndarray) -> Pool:
        """Return some of the images, any of them more than once."""
        chosen = [int(row) for row in rows]
        return Pool(
            self.images_u8[chosen],
            tuple(self.boxes[row] for row in chosen),
            tuple(self.groups[row] for row in chosen),
        )

    def digest(self) -> str:
        """Return 16 hex digits that tell images and boxes."""
        hashed = sha256(self.images_u8.tobytes())
        rows = [[[box.label, box.x_px, box.y_px, box.w_px, box.h_px, box.ignore] for box in own] for own in self.boxes]
        hashed.update(json.dumps([list(self.images_u8.shape), rows]).encode())
        return hashed.hexdigest()[:16]


def real(frames: Path, split: str, asked: DownstreamSettings) -> Pool:
    """Read the LWIR frames of a split from the output of stage frames.

    Raises:
        SourceError: none of the split has LWIR and boxes, or an image cannot be read.
    """
    size_px = (asked.width_px, asked.height_px)
    known = sum(frame.split == split for frame in records.read_rows(frames / "frames.parquet", Frame))
    found = examples.read(frames, split, max(1, known), asked.classes, size_px, asked.seed)  # type: ignore[arg-type]
    groups = tuple(frame.video or frame.id for frame in found.frames)
    return Pool(found.lwir_u8, tuple(frame.boxes for frame in found.frames), groups)


def grayscale(frames: Path, most: int, asked: DownstreamSettings) -> Pool | None:
    """Read visible train frames as grayscale, with the boxes of their frames; none where the source has no visible.

    Args:
        frames: output of stage frames.
        most: images at most; of more, a seeded choice.
        asked: size and classes.
    """
    rows = [one for one in records.read_rows(frames / "frames.parquet", Frame) if one.split == "train" and one.is_pair]
    if not rows:
        return None
    order = sorted(seeds.generator(asked.seed, "grayscale", "downstream-frames").permutation(len(rows))[:most])
    root, size_px = sources.root_of(frames), (asked.width_px, asked.height_px)
    pixels, boxes = [], []
    with bar("reading visible", len(order)) as advance:
        for row in order:
            frame = rows[row]
            pixels.append(images.resize(images.read_gray(root / frame.visible), *size_px))
            boxes.append(_resized(examples.mapped_boxes(frame.boxes, asked.classes), frame, size_px))
            advance(1)
    return Pool(np.stack(pixels), tuple(boxes), tuple(rows[row].video or rows[row].id for row in order))


def generated(one: Generated, asked: DownstreamSettings) -> Pool:
    """Read a labelled dataset.

    Raises:
        StoreError: no such dataset, a damaged one, or one without labels.
    """
    dataset = Dataset.open(one.path)
    if not dataset.labelled:
        raise StoreError(f"{one.path}: its images have no boxes", "Build it with labels (`labels.mode: auto`).")
    pixels, boxes, keys = [], [], []
    size_px = (asked.width_px, asked.height_px)
    for image in dataset.read(Thresholds(asked.min_score, asked.min_agreement)):
        with Image.open(io.BytesIO(image.record.image)) as opened:
            gray = to_gray(np.asarray(opened.convert("RGB"))[None])[0]
        pixels.append(images.resize(gray, *size_px))
        own = [(box, False) for box in image.boxes] + [(box, True) for box in image.ignored]
        plain = [Box(box.label, box.x_px, box.y_px, box.w_px, box.h_px, ignore=ignore) for box, ignore in own]
        boxes.append(_scaled(plain, size_px[0] / image.width_px, size_px[1] / image.height_px))
        keys.append(image.key)
    if not pixels:
        raise StoreError(f"{one.path}: no image passes", "Lower min_agreement.")
    return Pool(np.stack(pixels), tuple(boxes), tuple(keys))


def known_classes(pool: Pool) -> tuple[str, ...]:
    """Return the names of what is to be learnt, sorted."""
    return tuple(sorted({box.label for own in pool.boxes for box in own if not box.ignore}))


def only(pool: Pool, classes: Sequence[str]) -> Pool:
    """Return the pool without boxes of other classes but those to be ignored; what they are of is background."""
    return replace(
        pool, boxes=tuple(tuple(box for box in own if box.ignore or box.label in classes) for own in pool.boxes)
    )


def share(pool: Pool, part: float, seed: int) -> Pool:
    """Return a seeded part of a pool, video by video; a smaller part lies within each larger one of the same seed.

    Frames of one video resemble each other: who has few frames has few videos, and not a bit of every one.
    """
    videos = list(dict.fromkeys(pool.groups))
    order = seeds.generator(seed, "real", "downstream-share").permutation(len(videos))
    place = {videos[number]: turn for turn, number in enumerate(order)}
    rows = sorted(range(len(pool)), key=lambda row: place[pool.groups[row]])
    return pool.take(sorted(rows[: max(1, round(part * len(pool)))]))


def mixed(real_frames: Pool, others: Pool, real_in_batch: float) -> tuple[Pool, int]:
    """Put two pools together, the images of one repeated until the real ones are the share that is wanted.

    Detectors see the images of a pool in rounds, so shares of the pool are shares of what is seen.

    Returns:
        The pool, and how many images of it are real ones: the first.
    """
    total = max(len(real_frames) / real_in_batch, len(others) / (1 - real_in_batch))
    first = real_frames.take(np.resize(np.arange(len(real_frames)), round(total * real_in_batch)))
    second = others.take(np.resize(np.arange(len(others)), round(total * (1 - real_in_batch))))
    pool = Pool(
        np.concatenate([first.images_u8, second.images_u8]), first.boxes + second.boxes, first.groups + second.groups
    )
    return pool, len(first)


def facts(pools: Mapping[str, Pool]) -> dict[str, dict[str, int]]:
    """Return images, boxes and ignore boxes of each pool."""
    return {
        name: {
            "images": len(pool),
            "boxes": sum(not box.ignore for own in pool.boxes for box in own),
            "ignored": sum(box.ignore for own in pool.boxes for box in own),
        }
        for name, pool in pools.items()
    }


def _resized(boxes: Sequence[Box], frame: Frame, size_px: tuple[int, int]) -> tuple[Box, ...]:
    return _scaled(boxes, size_px[0] / frame.width_px, size_px[1] / frame.height_px)


def _scaled(boxes: Sequence[Box], x: float, y: float) -> tuple[Box, ...]:
    return tuple(
        replace(box, x_px=box.x_px * x, y_px=box.y_px * y, w_px=box.w_px * x, h_px=box.h_px * y) for box in boxes
    )
