"""PixArt-Sigma (arXiv 2403.04692): a diffusion on a transformer, prompts by T5."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import PixArtSigmaPipeline

from irgen.errors import SettingsError
from irgen.generators.conditions import Rows, warn_of_cut_texts
from irgen.generators.latents import decoded, encoded
from irgen.generators.levels import diffusion_levels
from irgen.generators.shapes import fitting_latents
from irgen.settings import BaseSettings

TRAINED_TOKENS = 300


class PixArt:
    """An `engine.Family` over a PixArt-Sigma pipeline; images are made at their own size, not at the nearest bin's."""

    def __init__(self, pipeline: PixArtSigmaPipeline, base: BaseSettings, *, steps: int, guidance: float) -> None:
        """Take over a pipeline.

        Args:
            pipeline: with all of its components.
            base: image size and T5 tokens.
            steps: of a whole denoising.
            guidance: of classifier-free guidance; 1 or less is none.

        Raises:
            SettingsError: an image size or a number of tokens that the base does not take.
            WeightsError: a scheduler that irgen has no steps for.
        """
        if base.max_sequence_length > TRAINED_TOKENS:
            raise SettingsError(
                f"base.max_sequence_length = {base.max_sequence_length}: PixArt-Sigma reads {TRAINED_TOKENS} at most",
                f"Set it to {TRAINED_TOKENS}.",
            )
        config, factor = pipeline.transformer.config, pipeline.vae_scale_factor
        self.latent_shape: tuple[int, ...] = fitting_latents(
            base, config.in_channels, factor, factor * config.patch_size
        )
        self.image_size_px = (base.height_px, base.width_px)
        self.levels = diffusion_levels(pipeline.scheduler, steps)
        self.guidance = max(1.0, guidance)
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.encoders: tuple[torch.nn.Module, ...] = (pipeline.text_encoder,)
        self._dtype: torch.dtype = pipeline.transformer.dtype
        self._pipeline = pipeline
        self._tokens = base.max_sequence_length

    def check(self, texts: Sequence[str]) -> None:
        """Warn of prompts that T5 reads in part."""
        warn_of_cut_texts(self._pipeline.tokenizer, texts, self._tokens, "T5")

    def encode(self, texts: list[str]) -> Rows:
        """Return T5's states, `prompt` [B, tokens, width], and which of them are text, `mask` [B, tokens]."""
        prompt, mask, _, _ = self._pipeline.encode_prompt(
            texts,
            do_classifier_free_guidance=False,
            device=self._pipeline.text_encoder.device,
            max_sequence_length=self._tokens,
        )
        return {"prompt": prompt, "mask": mask}

    def forward(self, x: torch.Tensor, times: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the predicted noise; the variance that the network predicts beside it is of no use here."""
        predicted = self._pipeline.transformer(
            x.to(self._dtype),
            encoder_hidden_states=rows["prompt"],
            encoder_attention_mask=rows["mask"],
            timestep=times,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return predicted[:, : self.latent_shape[0]].float()

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents of images in -1..1."""
        return encoded(self._pipeline.vae, images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images in -1..1."""
        return decoded(self._pipeline.vae, latents)
