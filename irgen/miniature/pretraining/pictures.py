"""The pictures of `docs/miniature.md`: scenes, round trips through the autoencoder, and what the base model paints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline
from numpy.typing import NDArray
from PIL import Image

from irgen.captions import forms
from irgen.miniature import models
from irgen.miniature.pretraining import autoencoder
from irgen.miniature.pretraining.corpus import Corpus
from irgen.miniature.world import HEIGHT_PX, WIDTH_PX

COLUMNS, ZOOM = 8, 2
GUIDANCE, STEPS = 2.5, 20
PROMPTS = (
    "a road by day with one person near in the centre",
    "a downtown street at night with two people near on the left",
    "a campus by day with one cyclist near on the right",
    "a road at night with one car near in the centre and nobody",
    "a campus at night with one person near on the right",
    "a downtown street by day with one person near on the left and one car midway in the centre",
    "a road by day without people",
    "a downtown street by day with three people midway in the centre",
)

U8 = NDArray[np.uint8]


def draw(corpus: Corpus, flux: Path, out: Path) -> None:
    """Write miniature-scenes.png, miniature-autoencoder.png and miniature-base.png."""
    out.mkdir(parents=True, exist_ok=True)
    visible, lwir = corpus.visible_u8, np.repeat(corpus.lwir_u8[..., None], 3, -1)
    pairs = [rows for k in range(0, 3 * COLUMNS, COLUMNS) for rows in (visible[k : k + COLUMNS], lwir[k : k + COLUMNS])]
    save(pairs, out / "miniature-scenes.png")
    pipeline = FluxPipeline.from_pretrained(flux)
    pipeline.set_progress_bar_config(disable=True)
    some, warm = visible[:COLUMNS], lwir[:COLUMNS]
    trips = [some, round_trip(pipeline.vae, some), warm, round_trip(pipeline.vae, warm)]
    save(trips, out / "miniature-autoencoder.png")
    colour = [models.COLOR_PREFIX + text for text in PROMPTS]
    gray = [forms.grayscale(text) for text in PROMPTS]
    painted = [paint(pipeline, colour, 1.0), paint(pipeline, colour, GUIDANCE), paint(pipeline, gray, GUIDANCE)]
    save(painted, out / "miniature-base.png")


def save(rows: Sequence[U8], path: Path) -> None:
    """Write rows of images [N, 80, 96, 3] as one picture."""
    grid = Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows]))
    grid.resize((grid.width * ZOOM, grid.height * ZOOM), Image.Resampling.NEAREST).save(path, optimize=True)


@torch.no_grad()
def round_trip(vae: AutoencoderKL, image_u8: U8) -> U8:
    """Encode and decode images [N, 80, 96, 3]."""
    back = vae.decode(vae.encode(autoencoder.to_tensor(image_u8)).latent_dist.mode()).sample.clamp(-1, 1)
    return np.asarray(((back + 1) * 127.5).round().permute(0, 2, 3, 1), np.uint8)


def paint(pipeline: FluxPipeline, prompts: Sequence[str], guidance: float) -> U8:
    """Return images [N, 80, 96, 3] of prompts; picture k starts from noise k."""
    images = pipeline(
        list(prompts),
        height=HEIGHT_PX,
        width=WIDTH_PX,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        max_sequence_length=models.T5_TOKENS,
        generator=[torch.Generator().manual_seed(k) for k in range(len(prompts))],
        output_type="np",
    ).images
    return np.asarray(np.rint(images * 255), np.uint8)
