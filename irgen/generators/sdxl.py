"""Stable Diffusion XL (arXiv 2307.01952): a diffusion on a U-Net, prompts by two CLIPs.

Its DPO variants (arXiv 2311.12908) are this base with `base.denoiser`, their U-Net, or with `base.lora`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import StableDiffusionXLPipeline

from irgen.errors import WeightsError
from irgen.generators.conditions import Rows, warn_of_cut_texts
from irgen.generators.latents import decoded, encoded
from irgen.generators.levels import diffusion_levels
from irgen.generators.shapes import fitting_latents
from irgen.settings import BaseSettings


class Sdxl:
    """An `engine.Family` over an SDXL pipeline."""

    def __init__(self, pipeline: StableDiffusionXLPipeline, base: BaseSettings, *, steps: int, guidance: float) -> None:
        """Take over a pipeline; see `Flux`.

        Args:
            pipeline: with all of its components.
            base: image size; CLIP reads 77 tokens whatever `max_sequence_length` says.
            steps: of a whole denoising.
            guidance: of classifier-free guidance; 1 or less is none.

        Raises:
            SettingsError: an image size that the base cannot make.
            WeightsError: a scheduler or U-Net that is not SDXL's.
        """
        unet = pipeline.unet
        if unet.config.time_cond_proj_dim is not None:
            raise WeightsError(
                f"{base.model}: its U-Net reads guidance as an input (a latent consistency model)",
                "Name a plain SDXL base.",
            )
        factor, deepest = pipeline.vae_scale_factor, 2 ** (len(unet.config.block_out_channels) - 1)
        self.latent_shape: tuple[int, ...] = fitting_latents(base, unet.config.in_channels, factor, factor * deepest)
        self.image_size_px = (base.height_px, base.width_px)
        self.levels = diffusion_levels(pipeline.scheduler, steps)
        self.guidance = max(1.0, guidance)
        self.denoiser: torch.nn.Module = unet
        self.encoders: tuple[torch.nn.Module, ...] = (pipeline.text_encoder, pipeline.text_encoder_2)
        self._pipeline = pipeline

    def check(self, texts: Sequence[str]) -> None:
        """Warn of prompts that CLIP reads in part."""
        tokenizer = self._pipeline.tokenizer
        warn_of_cut_texts(tokenizer, texts, tokenizer.model_max_length, "CLIP")

    def encode(self, texts: list[str]) -> Rows:
        """Return both CLIPs' states, `prompt` [B, tokens, width], and the second's `pooled` one [B, width]."""
        device = self._pipeline.text_encoder_2.device
        prompt, _, pooled, _ = self._pipeline.encode_prompt(texts, device=device, do_classifier_free_guidance=False)
        if self._pipeline.config.force_zeros_for_empty_prompt:
            asked = torch.tensor([bool(text) for text in texts], device=device)
            prompt, pooled = prompt * asked[:, None, None], pooled * asked[:, None]
        return {"prompt": prompt, "pooled": pooled}

    def forward(self, x: torch.Tensor, times: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the predicted noise (or what the scheduler's prediction type says)."""
        unet = self._pipeline.unet
        # Original size, crop and target size, as if trained images of this very size had been asked for.
        sizes = torch.tensor([*self.image_size_px, 0, 0, *self.image_size_px], device=x.device, dtype=unet.dtype)
        added = {"text_embeds": rows["pooled"], "time_ids": sizes.expand(len(x), -1)}
        predicted = unet(
            x.to(unet.dtype),
            times,
            encoder_hidden_states=rows["prompt"],
            added_cond_kwargs=added,
            return_dict=False,
        )
        return predicted[0].float()

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents of images in -1..1."""
        return encoded(self._pipeline.vae, images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images in -1..1."""
        return decoded(self._pipeline.vae, latents)
