"""FLUX.1, dev and schnell: a rectified flow on a transformer, prompts by T5 and CLIP.

Guidance is an input of dev's network, which is distilled: one evaluation a forward. Schnell has none and takes 4 steps.
Memory of FLUX.1-dev in bf16: 23.8 GB transformer, 9.8 GB text encoders, 0.2 GB autoencoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import FluxPipeline

from irgen.generators import placing
from irgen.generators.conditions import Conditions, Rows, encode_rows, warn_of_cut_texts
from irgen.generators.flow import Flow, latent_shape, sampling_levels
from irgen.generators.latents import decoded, encoded
from irgen.settings import BaseSettings


class Flux:
    """An `engine.Family` over a FLUX pipeline; from the same noise it makes the image that `FluxPipeline` makes."""

    def __init__(self, pipeline: FluxPipeline, base: BaseSettings, *, steps: int, guidance: float) -> None:
        """Take over a pipeline.

        Args:
            pipeline: its text encoders may be None where `encode` is not needed.
            base: image size and T5 tokens.
            steps: of a whole denoising.
            guidance: embedded guidance of a guidance-distilled base.

        Raises:
            SettingsError: an image size that the base cannot make.
        """
        # Of classifier-free guidance, which FLUX has none of.
        self.guidance = 1.0
        self.latent_shape: tuple[int, ...] = latent_shape(pipeline, base)
        self.image_size_px = (base.height_px, base.width_px)
        self.levels = sampling_levels(pipeline.scheduler, steps, self.latent_shape)
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.encoders: tuple[torch.nn.Module, ...] = _encoders(pipeline)
        self._pipeline = pipeline
        self._tokens = base.max_sequence_length
        self._flow = Flow(pipeline.transformer, guidance, self.latent_shape)

    def check(self, texts: Sequence[str]) -> None:
        """Warn of prompts that T5 reads in part."""
        warn_of_cut_texts(self._pipeline.tokenizer_2, texts, self._tokens, "T5")

    def encode(self, texts: list[str]) -> Rows:
        """Return T5's states, `prompt` [B, tokens, width], and CLIP's `pooled` one [B, width]."""
        return _encode(self._pipeline, texts, self._tokens)

    def forward(self, x: torch.Tensor, times: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the velocity."""
        return self._flow.velocity(x, times, rows)

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents of images in -1..1."""
        return encoded(self._pipeline.vae, images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images in -1..1."""
        return decoded(self._pipeline.vae, latents)


def encode_texts(pipeline: FluxPipeline, texts: Sequence[str], tokens: int, device: torch.device) -> Conditions:
    """Encode prompts for training, on the CPU; see `Engine.encode`."""
    warn_of_cut_texts(pipeline.tokenizer_2, texts, tokens, "T5")
    with placing.room_for(_encoders(pipeline), pipeline.transformer, device):
        return Conditions(encode_rows(texts, lambda some: _encode(pipeline, some, tokens)))


def _encoders(pipeline: FluxPipeline) -> tuple[torch.nn.Module, ...]:
    return tuple(one for one in (pipeline.text_encoder, pipeline.text_encoder_2) if one is not None)


def _encode(pipeline: FluxPipeline, texts: list[str], tokens: int) -> Rows:
    device = pipeline.text_encoder_2.device
    prompt, pooled, _ = pipeline.encode_prompt(texts, None, device=device, max_sequence_length=tokens)
    return {"prompt": prompt, "pooled": pooled}
