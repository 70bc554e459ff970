"""What an adapter learns from: infrared frames of the train split and their captions, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline

from irgen import images, progress, records
from irgen.errors import SourceError, StoreError
from irgen.generators.conditions import Conditions
from irgen.generators.flux import encode_texts
from irgen.settings import BaseSettings


@dataclass(frozen=True, slots=True)
class Example:
    """An infrared frame to learn from.

    Attributes:
        frame_id: the frame.
        path: its LWIR image.
        text: the caption's infrared form.
    """

    frame_id: str
    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples as the transformer sees them, on the CPU.

    Attributes:
        mean, sd: of the autoencoder's posterior, scaled to the flow's unit; float32 [N, C, h, w].
        conditions: of the different texts.
        text_rows: for each example its row of the conditions.
    """

    mean: torch.Tensor
    sd: torch.Tensor
    conditions: Conditions
    text_rows: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.text_rows)


def training_examples(
    frames: Sequence[records.Frame], captions: Sequence[records.Caption], root: Path
) -> list[Example]:
    """Pick the captioned infrared frames of the train split, sorted by frame.

    Args:
        frames: of the source.
        captions: of some of them, of any split.
        root: folder that the frames' paths are relative to.

    Raises:
        StoreError: a caption says "train" of a frame that is unknown or of another split.
        SourceError: no captioned training frame has an infrared image.
    """
    by_id = {frame.id: frame for frame in frames}
    examples = []
    for caption in captions:
        if caption.split != "train":
            continue
        frame = by_id.get(caption.frame_id)
        if frame is None or frame.split != "train":
            split = "unknown" if frame is None else f"of the {frame.split} split"
            raise StoreError(
                f"captions: {caption.frame_id} is captioned for training, but that frame is {split}",
                "Nothing is trained on frames it is judged on: run the captions stage again.",
            )
        if frame.lwir:
            examples.append(Example(frame.id, root / frame.lwir, caption.infrared))
    if not examples:
        raise SourceError(
            "no captioned frame of the train split has an infrared image",
            "Raise captions.train_frames, or name a source that has infrared frames.",
        )
    return sorted(examples, key=lambda example: example.frame_id)


def encode(pipeline: FluxPipeline, examples: Sequence[Example], base: BaseSettings, device: torch.device) -> Encoded:
    """Encode images and texts, each text once.

    1,000 examples of FLUX.1-dev at 512x640 take 0.7 GB for latents and, in bf16, 4.2 MB for each different text.

    Args:
        pipeline: its autoencoder is on the device.
        examples: images are resized to the base's size; gray is repeated in three channels.
        base: image size and T5 tokens.
        device: where the encoders run.

    Raises:
        BadImageError: an image that cannot be read.
    """
    texts = sorted({example.text for example in examples})
    row = {text: index for index, text in enumerate(texts)}
    means, sds = [], []
    with progress.bar("adapter: encode", len(examples)) as advance:
        for example in examples:
            mean, sd = _posterior(pipeline, _image(example.path, base), device)
            means.append(mean)
            sds.append(sd)
            advance(1)
        conditions = encode_texts(pipeline, texts, base.max_sequence_length, device)
    return Encoded(torch.cat(means), torch.cat(sds), conditions, tuple(row[example.text] for example in examples))


def _image(path: Path, base: BaseSettings) -> torch.Tensor:
    """Read an infrared image as float32 [1, 3, height, width] in -1..1."""
    lwir_u8 = images.resize(images.read_gray(path), base.width_px, base.height_px)
    return torch.from_numpy(lwir_u8.astype(np.float32) / 127.5 - 1).expand(1, 3, -1, -1)


@torch.no_grad()
def _posterior(pipeline: FluxPipeline, image: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    vae = pipeline.vae
    posterior = vae.encode(image.to(device, vae.dtype)).latent_dist
    scale = vae.config.scaling_factor
    mean = (posterior.mean.float() - vae.config.shift_factor) * scale
    return mean.cpu(), (posterior.std.float() * scale).cpu()
