"""A model family: Stable Diffusion 1.x and 2.x (arXiv 2112.10752), a diffusion on a U-Net, prompts by one CLIP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import StableDiffusionPipeline

from irgen.errors import WeightsError
from irgen.generators.conditions import Rows, warn_of_cut_texts
from irgen.generators.latents import decoded, encoded
from irgen.generators.levels import diffusion_levels
from irgen.generators.shapes import fitting_latents
from irgen.settings import BaseSettings


class StableDiffusion:
    """An `engine.Family`: what the engine's step loop needs to know of a base.

    Attributes:
        components: of the pipeline; the denoiser first. Others (the safety checker) are not loaded.
    """

    components = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")

    def __init__(self, pipeline: StableDiffusionPipeline, base: BaseSettings, *, steps: int, guidance: float) -> None:
        """Take over a pipeline.

        Args:
            pipeline: with all of `components`.
            base: image size.
            steps: of a whole denoising.
            guidance: of classifier-free guidance; 1 or less is none.

        Raises:
            SettingsError: an image size that the base cannot make.
            WeightsError: a scheduler that irgen has no steps for, or a U-Net that wants more than text.
        """
        unet = pipeline.unet
        if unet.config.in_channels != unet.config.out_channels:
            raise WeightsError(f"{base.model}: its U-Net wants images, too", "Name a text-to-image base.")
        factor, deepest = pipeline.vae_scale_factor, 2 ** (len(unet.config.block_out_channels) - 1)
        self.latent_shape: tuple[int, ...] = fitting_latents(base, unet.config.in_channels, factor, factor * deepest)
        self.image_size_px = (base.height_px, base.width_px)
        self.levels = diffusion_levels(pipeline.scheduler, steps)
        self.guidance = max(1.0, guidance)
        self.denoiser: torch.nn.Module = unet
        self.encoders: tuple[torch.nn.Module, ...] = (pipeline.text_encoder,)
        self._pipeline = pipeline

    def check(self, texts: Sequence[str]) -> None:
        """Warn of prompts that CLIP reads in part."""
        tokenizer = self._pipeline.tokenizer
        warn_of_cut_texts(tokenizer, texts, tokenizer.model_max_length, "CLIP")

    def encode(self, texts: list[str]) -> Rows:
        """Return CLIP's states, `prompt` [B, tokens, width]."""
        device = self._pipeline.text_encoder.device
        prompt, _ = self._pipeline.encode_prompt(texts, device, 1, do_classifier_free_guidance=False)
        return {"prompt": prompt}

    def forward(self, x: torch.Tensor, times: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the predicted noise (or what the scheduler's prediction type says)."""
        unet = self._pipeline.unet
        return unet(x.to(unet.dtype), times, encoder_hidden_states=rows["prompt"], return_dict=False)[0].float()

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents of images in -1..1."""
        return encoded(self._pipeline.vae, images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images in -1..1."""
        return decoded(self._pipeline.vae, latents)
