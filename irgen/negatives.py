"""Images that are not real infrared, though they might pass for it: what the verifier learns to refuse.

Users of infrared generators complain first that the images are "just inverted grayscale"; hence not only gray.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irgen import files, images, seeds
from irgen.errors import SourceError
from irgen.progress import bar
from irgen.records import Frame, Negative
from irgen.settings import NegativeKind

log = logging.getLogger(__name__)

U8 = NDArray[np.uint8]

BT601_WEIGHTS = np.array([0.299, 0.587, 0.114])
"""Luma from red, green and blue, ITU-R BT.601."""


def gray(visible_u8: U8) -> U8:
    """Return the BT.601 luma of a visible image [H, W, 3], in all three channels."""
    luma = np.rint(visible_u8 @ BT601_WEIGHTS).astype(np.uint8)
    return _three_channels(luma)


def inverted(visible_u8: U8) -> U8:
    """Return 255 - gray of a visible image [H, W, 3]."""
    return np.asarray(255 - gray(visible_u8), np.uint8)


def wrong_agc(lwir_u8: U8, rng: np.random.Generator) -> U8:
    """Return an LWIR image [H, W] as a misadjusted automatic gain control would show it, [H, W, 3].

    The generator chooses one fault and its strength: contrast stretched until both ends clip, histogram
    equalisation, a wrong gamma, or a washed-out, low contrast.
    """
    fault = AGC_FAULTS[int(rng.integers(len(AGC_FAULTS)))]
    faulty = fault(lwir_u8.astype(np.float64) / 255, rng)
    return _three_channels(np.rint(np.clip(faulty, 0, 1) * 255).astype(np.uint8))


def _stretched(lwir: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Clip 15 to 30 % of the pixels at each end."""
    low, high = np.quantile(lwir, [rng.uniform(0.15, 0.3), 1 - rng.uniform(0.15, 0.3)])
    return (lwir - low) / max(high - low, 1 / 255)


def _equalised(lwir: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Spread the grey levels to a flat histogram, almost or wholly."""
    levels = np.rint(lwir * 255).astype(np.int64)
    cumulative = np.cumsum(np.bincount(levels.ravel(), minlength=256)) / levels.size
    share = rng.uniform(0.75, 1)
    return share * cumulative[levels] + (1 - share) * lwir


def _gamma(lwir: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Lift the dark parts far too much, or drown them."""
    exponent = rng.uniform(0.3, 0.5) if rng.random() < 0.5 else rng.uniform(2.2, 3.2)
    return np.asarray(lwir**exponent)


def _washed_out(lwir: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Squeeze all contrast into a narrow band around a raised level."""
    return rng.uniform(0.35, 0.6) + rng.uniform(0.15, 0.3) * (lwir - lwir.mean())


AGC_FAULTS: tuple[Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]], ...] = (
    _stretched,
    _equalised,
    _gamma,
    _washed_out,
)


def _three_channels(gray_u8: U8) -> U8:
    return np.repeat(gray_u8[..., None], 3, axis=2)


def write_all(
    frames: Sequence[Frame], kinds: Sequence[NegativeKind], seed: int, raw: Path, out: Path
) -> tuple[list[Negative], dict[str, int]]:
    """Write the negatives of frames as `<kind>/<split>/<frame id>.png`; files that are there already are kept.

    PNG adds no compression of its own, so that negatives are compressed once, by their camera, as real images are.

    Args:
        frames: the frames to make them of; of test frames only gray is made, the report's baseline.
        kinds: which.
        seed: of the wrong gain controls.
        raw: folder that the frames' paths are relative to.
        out: folder to write into.

    Returns:
        The rows, sorted by kind and frame, and by kind the frames that lack the image it is made from.

    Raises:
        SourceError: an image cannot be read, or not a single negative can be made.
    """
    jobs: list[tuple[Frame, NegativeKind]] = []
    left_out: dict[str, int] = {}
    for kind in kinds:
        wanted = [frame for frame in frames if frame.split != "test" or kind == "gray"]
        possible = [frame for frame in wanted if (frame.lwir if kind == "agc" else frame.visible)]
        jobs += [(frame, kind) for frame in sorted(possible, key=lambda frame: frame.id)]
        left_out[kind] = len(wanted) - len(possible)
        if wanted and not possible:
            lacking = "LWIR" if kind == "agc" else "visible"
            log.warning("no %s: none of %d captioned frames has a %s image", kind, len(wanted), lacking)
    if kinds and not jobs:  # without any kind, for an ablation, there are none
        raise SourceError(
            f"negatives: none of {', '.join(kinds)} can be made of these {len(frames)} frames",
            "gray, inverted and rgb need visible images, agc needs LWIR: add the kind that the source has images for.",
        )
    rows = []
    (out / files.TMP).mkdir(parents=True, exist_ok=True)
    with bar("negatives", len(jobs)) as advance, ThreadPoolExecutor() as pool:
        for row in pool.map(lambda job: _write(job[0], job[1], seed, raw, out), jobs):
            rows.append(row)
            advance(1)
    os.sync()  # once: an fsync a file would take ten times as long as the work
    return rows, left_out


def _write(frame: Frame, kind: NegativeKind, seed: int, raw: Path, out: Path) -> Negative:
    name = f"{kind}/{frame.split}/{frame.id}.png"
    path = out / name
    sha256 = _sound_sha256(path)
    if not sha256:
        data = images.encode(images.resize(_make(frame, kind, seed, raw), frame.width_px, frame.height_px), "png")
        temporary = out / files.TMP / uuid.uuid4().hex
        temporary.write_bytes(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
        sha256 = hashlib.sha256(data).hexdigest()
    return Negative(frame.id, frame.split, kind, name, sha256)


def _sound_sha256(path: Path) -> str:
    """Return the hash of an image that an interrupted run left, "" where there is none or it did not reach the disk."""
    try:
        return images.check(path).sha256 if path.exists() else ""
    except images.BadImageError:
        return ""


def _make(frame: Frame, kind: NegativeKind, seed: int, raw: Path) -> U8:
    if kind == "agc":
        return wrong_agc(images.read_gray(raw / frame.lwir), seeds.generator(seed, frame.id, "agc"))
    visible_u8 = images.read_rgb(raw / frame.visible)
    if kind == "rgb":
        return visible_u8
    return gray(visible_u8) if kind == "gray" else inverted(visible_u8)
