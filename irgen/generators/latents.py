"""Images to the latents that a denoiser sees, and back, through an autoencoder of diffusers.

What its config says is done to them on the way, in the order of diffusers' pipelines: `shift_factor` (FLUX), or a mean
and standard deviation a channel (`latents_mean`, `latents_std`: descendants of SDXL), then `scaling_factor`.
"""

from __future__ import annotations

from typing import Any

import torch


def encoded(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Return the mean of the autoencoder's posterior as latents.

    Args:
        vae: AutoencoderKL or one with its methods.
        images: float [B, 3, height, width] in -1..1.

    Returns:
        float32 [B, channels, height / factor, width / factor].
    """
    raw = vae.encode(images.to(vae.dtype)).latent_dist.mean.float()
    shift, sd = _moments(vae, raw.device)
    return (raw - shift) / sd * vae.config.scaling_factor


def decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return images of latents, as `encoded` takes and gives them; about -1..1, in the autoencoder's dtype."""
    shift, sd = _moments(vae, latents.device)
    raw = latents / vae.config.scaling_factor * sd + shift
    image: torch.Tensor = vae.decode(raw.to(vae.dtype), return_dict=False)[0]
    return image


def _moments(vae: Any, device: torch.device) -> tuple[float | torch.Tensor, float | torch.Tensor]:
    """Return mean and standard deviation of the raw latents, of each channel [1, channels, 1, 1] or of all."""
    config = vae.config
    if config.get("latents_mean") is None or config.get("latents_std") is None:
        return config.get("shift_factor") or 0.0, 1.0
    mean, sd = (torch.tensor(one, device=device).view(1, -1, 1, 1) for one in (config.latents_mean, config.latents_std))
    return mean, sd
