"""What the verifier learns from and is calibrated on: real LWIR images, their captions and their negatives."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from irgen import images
from irgen.errors import StoreError
from irgen.progress import bar
from irgen.records import Caption, Frame, Negative, Split
from irgen.verifiers.clip import Clip

READ_AT_ONCE = 64
OWN = "own"
"""The kind of negative that the adapted base makes itself (`irgen.verifiers.own`)."""


@dataclass(frozen=True)
class Examples:
    """Frames of one split, decoded once and squashed to the model's size.

    Attributes:
        captions: bare captions, [N].
        lwir_u8: uint8 [N, 3, h, w].
        negatives_u8: by kind, uint8 [M, 3, h, w].
        owners: by kind, int64 [M]: which of the N frames a negative was made from, or of whose caption.
        previews_u8: by denoising step, uint8 [M, 3, h, w]: row k is the clean-image estimate, at that step, of the
            generation that ended in row k of the negatives `own`.
    """

    captions: tuple[str, ...]
    lwir_u8: torch.Tensor
    negatives_u8: dict[str, torch.Tensor]
    owners: dict[str, np.ndarray]
    previews_u8: dict[int, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.captions)


def read(
    clip: Clip,
    split: Split,
    frames: Sequence[Frame],
    captions: Sequence[Caption],
    negatives: Sequence[Negative],
    raw: Path,
    negatives_folder: Path,
) -> Examples:
    """Read the captioned frames of `split`, "train" or "val", and their negatives.

    Args:
        clip: gives the size.
        split: which; images are read of these frames only.
        frames: of all splits.
        captions: of all splits.
        negatives: of all splits.
        raw: folder that the frames' paths are relative to.
        negatives_folder: folder that the negatives' paths are relative to.

    Raises:
        StoreError: a frame of the test split, or one that the frames stage does not know.
        SourceError: an image cannot be read.
    """
    by_id = {frame.id: frame for frame in frames}
    chosen = [caption for caption in captions if caption.split == split]
    used = [one.frame_id for one in chosen] + [one.frame_id for one in negatives if one.split == split]
    for frame_id in used:
        refuse_test(frame_id, by_id, split)
    index = {caption.frame_id: number for number, caption in enumerate(chosen)}
    lwir = _read_images(clip, f"{split} LWIR", [raw / by_id[caption.frame_id].lwir for caption in chosen])
    kinds = sorted({negative.kind for negative in negatives})
    rows = {
        kind: [one for one in negatives if one.kind == kind and one.split == split and one.frame_id in index]
        for kind in kinds
    }
    pixels = {
        kind: _read_images(clip, f"{split} {kind}", [negatives_folder / one.path for one in rows[kind]])
        for kind in kinds
    }
    owners = {kind: np.array([index[one.frame_id] for one in rows[kind]], np.int64) for kind in kinds}
    return Examples(tuple(caption.caption for caption in chosen), lwir, pixels, owners)


def refuse_test(frame_id: str, frames: dict[str, Frame], split: Split) -> None:
    """Raise unless the frames stage, too, has this frame in `split`, and that is not the test split.

    Raises:
        StoreError: naming the frame.
    """
    actual = frames[frame_id].split if frame_id in frames else "no"
    if split == "test" or actual != split:
        raise StoreError(
            f"verifier: frame {frame_id} is of the {actual} split and must not be used as a {split} frame",
            "Make captions and negatives again from these frames (`--from captions`).",
        )


def _read_images(clip: Clip, description: str, paths: Sequence[Path]) -> torch.Tensor:
    """Decode files into uint8 [B, 3, h, w] of the model's size."""
    height_px, width_px = clip.image_size_px
    pixels = torch.empty((len(paths), 3, height_px, width_px), dtype=torch.uint8)
    with bar(f"reading {description}", len(paths)) as advance, ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), READ_AT_ONCE):
            decoded = list(pool.map(images.read_rgb, paths[start : start + READ_AT_ONCE]))
            for number, image_u8 in enumerate(decoded, start):
                pixels[number] = squashed(clip, image_u8[None])[0]
            advance(len(decoded))
    return pixels


def squashed(clip: Clip, images_u8: np.ndarray) -> torch.Tensor:
    """Squash uint8 [B, H, W, 3] to the model's size: uint8 [B, 3, h, w] on the CPU."""
    return (clip.resize(images_u8) * 255).round().to(torch.uint8).contiguous().cpu()
