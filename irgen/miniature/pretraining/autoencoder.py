"""Train the autoencoder on visible frames only, augmented so that thermal images pass through it, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from irgen.miniature import models
from irgen.miniature.pretraining.corpus import Corpus
from irgen.miniature.pretraining.loop import Losses, Schedule, train

CROP_PX = 48
CROPS = Schedule(steps=5000, lr=2e-3, warmup=200, ema=0.998, weight_decay=0.0)
WHOLE = Schedule(steps=700, lr=4e-4, warmup=50, ema=0.99, weight_decay=0.0)
CROP_BATCH, WHOLE_BATCH = 32, 12
KL_WEIGHT = 2e-4


def fit(corpus: Corpus, work: Path) -> AutoencoderKL:
    """Train on crops, then on whole frames (group norm sees other statistics there); set the latents' scale."""
    torch.manual_seed(0)
    model = models.build_autoencoder().to(memory_format=torch.channels_last)
    compiled = torch.compile(_Objective(model))

    def crops(_: int, rng: np.random.Generator) -> Losses:
        chosen = corpus.visible_u8[np.sort(rng.integers(len(corpus), size=CROP_BATCH))]
        return _losses(compiled, augment(_crop(chosen, rng), rng), rng)

    model.load_state_dict(train("autoencoder-crops", model, crops, CROPS, work).state_dict())

    def whole(_: int, rng: np.random.Generator) -> Losses:
        chosen = corpus.visible_u8[np.sort(rng.integers(len(corpus), size=WHOLE_BATCH))]
        return _losses(compiled, augment(chosen, rng), rng)

    averaged = train("autoencoder", model, whole, WHOLE, work)
    assert isinstance(averaged, AutoencoderKL)
    averaged = averaged.eval()
    shift, scale = latent_statistics(averaged, corpus.visible_u8[:512])
    averaged.register_to_config(shift_factor=shift, scaling_factor=scale)
    return averaged


def to_tensor(image_u8: NDArray[np.uint8]) -> Tensor:
    """Return uint8 [B, H, W, 3] or [B, H, W] as float32 [B, 3, H, W] in -1..1."""
    stacked = image_u8 if image_u8.ndim == 4 else np.repeat(image_u8[..., None], 3, -1)
    return torch.from_numpy(stacked.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def augment(image_u8: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Return frames as float32 [B, 3, H, W] in -1..1: flipped, and two in five made colourless in some way.

    Thermal images are never seen; grayscale ones with other gammas, contrasts and polarities stand in for them.
    """
    image = to_tensor(image_u8) * 0.5 + 0.5
    for k in range(len(image)):
        if rng.random() < 0.5:
            image[k] = image[k].flip(-1)
        if rng.random() < 0.4:
            gray = (image[k] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
            if rng.random() < 0.4:
                gray = 1 - gray
            low, high = rng.uniform(0, 0.35), rng.uniform(0.65, 1)
            gray = ((gray - low) / (high - low)).clamp(0, 1) ** float(np.exp(rng.uniform(-0.7, 1.0)))
            image[k] = gray
    return image * 2 - 1


@torch.no_grad()
def latent_statistics(model: AutoencoderKL, visible_u8: NDArray[np.uint8]) -> tuple[float, float]:
    """Return shift and scale so that (latent - shift) * scale has mean 0 and deviation 1."""
    latents = encode(model, visible_u8)
    return float(latents.mean()), float(1 / latents.std())


@torch.no_grad()
def encode(model: AutoencoderKL, image_u8: NDArray[np.uint8], batch: int = 64) -> Tensor:
    """Return the mean latents [N, C, H/4, W/4] of uint8 images, not yet scaled."""
    parts = [
        model.encode(to_tensor(image_u8[k : k + batch])).latent_dist.mode() for k in range(0, len(image_u8), batch)
    ]
    return torch.cat(parts)


@torch.no_grad()
def psnr_db(model: AutoencoderKL, image_u8: NDArray[np.uint8]) -> float:
    """Return the mean peak signal-to-noise ratio of a round trip."""
    errors = []
    for k in range(0, len(image_u8), 64):
        image = to_tensor(image_u8[k : k + 64])
        back = model.decode(model.encode(image).latent_dist.mode()).sample.clamp(-1, 1)
        errors.append(((back - image) / 2).square().mean((1, 2, 3)))
    return float((-10 * torch.cat(errors).log10()).mean())


class _Objective(nn.Module):
    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            moments = self.model.encoder(image)
            mean, logvar = moments.float().chunk(2, 1)
            logvar = logvar.clamp(-20, 10)
            back = self.model.decoder(mean + noise * (0.5 * logvar).exp()).float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        error = back - image
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return error.abs().mean() + 0.5 * edges, error.square().mean(), kl


def _losses(
    objective: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]], image: Tensor, rng: np.random.Generator
) -> Losses:
    image = image.contiguous(memory_format=torch.channels_last)
    shape = (len(image), models.LATENT_CHANNELS, image.shape[2] // 4, image.shape[3] // 4)
    noise = torch.from_numpy(rng.standard_normal(shape, np.float32))
    absolute, square, kl = objective(image, noise)
    return {"loss": absolute + 2 * square + KL_WEIGHT * kl, "l1+edges": absolute, "mse": square, "kl": kl}


def _crop(image_u8: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image_u8.shape[1:3]
    tops = rng.integers(0, height - CROP_PX + 1, len(image_u8))
    lefts = rng.integers(0, width - CROP_PX + 1, len(image_u8))
    cut = [image[t : t + CROP_PX, x : x + CROP_PX] for image, t, x in zip(image_u8, tops, lefts, strict=True)]
    return np.stack(cut)
