"""FLUX, step by step: stock diffusers components under irgen's own loop, so that a search can stop, score and go on.

From the same noise it makes the image that `FluxPipeline` makes. Memory of FLUX.1-dev in bf16: 23.8 GB transformer,
9.8 GB text encoders, 0.2 GB autoencoder, and about 1 GB of activations for each 512x640 image of a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline

from irgen import devices
from irgen.generators import loading
from irgen.generators.flow import Flow, FluxConditions, latent_shape, sampling_sigmas
from irgen.search.interface import Denoised
from irgen.settings import BaseSettings

log = logging.getLogger(__name__)

TEXTS_AT_ONCE = 8


class FluxGenerator:
    """A `search.Generator` over a FLUX pipeline, with or without an adapter.

    Forwards and texts run in batches of one fixed shape, filled up by repeating a row, and images are decoded one by
    one: so an image's bits depend on its text and noise alone. Calls are deterministic and keep no gradients.

    Attributes:
        steps: of a whole denoising.
        latent_shape: (channels, height, width) of one image's latents.
        nfe: forwards made so far, one an image and step; padding rows are not counted.
    """

    def __init__(
        self, pipeline: FluxPipeline, base: BaseSettings, *, steps: int, guidance: float, batch_size: int
    ) -> None:
        """Take over a pipeline whose transformer and autoencoder are on the device where they shall run.

        Args:
            pipeline: its text encoders may be None where `encode` is not needed.
            base: image size and T5 tokens.
            steps: of a whole denoising.
            guidance: embedded guidance of a guidance-distilled base.
            batch_size: rows of every forward.

        Raises:
            SettingsError: an image size that the base cannot make.
        """
        self.steps = steps
        self.latent_shape: tuple[int, ...] = latent_shape(pipeline, base)
        self.nfe = 0
        self._pipeline = pipeline
        self._tokens = base.max_sequence_length
        self._batch_size = batch_size
        self._device = pipeline.transformer.device
        self._flow = Flow(pipeline.transformer, guidance, self.latent_shape)
        sigmas, times = sampling_sigmas(pipeline.scheduler, steps, self.latent_shape)
        self._sigmas: list[float] = sigmas.tolist()
        self._times = times.to(self._device)

    @classmethod
    def load(cls, base: BaseSettings, steps: int, guidance: float, batch_size: int, adapter: Path | None) -> Self:
        """Load a base and, unless None, the adapter in a folder (the adapter stage's output, or any diffusers LoRA).

        Raises:
            WeightsError: missing or unfit weights.
            SettingsError: an image size that the base cannot make.
        """
        pipeline = loading.load_pipeline(base)
        if adapter is not None:
            loading.load_adapter(pipeline, adapter)
        loading.place(pipeline, devices.device())
        return cls(pipeline, base, steps=steps, guidance=guidance, batch_size=batch_size)

    def encode(self, texts: Sequence[str]) -> FluxConditions:
        """Encode prompts, a row each, on the generator's device."""
        return encode_texts(self._pipeline, texts, self._tokens, self._device).to(self._device)

    @torch.inference_mode()
    def denoise(self, latents: torch.Tensor, conditions: FluxConditions, from_step: int, to_step: int) -> Denoised:
        """Take float32 [B, *latent_shape] from one step to another, 0 <= from_step < to_step <= steps; any B.

        Returns:
            Latents and clean-image estimates on the device of `latents`.

        Raises:
            ValueError: steps out of range, or conditions of another number of rows.
        """
        if not 0 <= from_step < to_step <= self.steps:
            raise ValueError(f"steps {from_step} to {to_step} of {self.steps}")
        if len(conditions.prompt) != len(latents):
            raise ValueError(f"{len(latents)} latents, {len(conditions.prompt)} conditions")
        reached, clean = torch.empty_like(latents), torch.empty_like(latents)
        for rows in _batches(len(latents), self._batch_size):
            real = slice(rows[0], rows[0] + len(set(rows)))
            x, x0 = self._denoise_batch(latents[rows].to(self._device), conditions.take(rows), from_step, to_step)
            reached[real] = x[: real.stop - real.start].to(latents.device)
            clean[real] = x0[: real.stop - real.start].to(latents.device)
        self.nfe += len(latents) * (to_step - from_step)
        return Denoised(reached, clean)

    def _denoise_batch(
        self, x: torch.Tensor, conditions: FluxConditions, from_step: int, to_step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Euler steps of the flow: x0 = x - sigma v, x' = x + (sigma' - sigma) v."""
        clean = x
        for step in range(from_step, to_step):
            sigma, next_sigma = self._sigmas[step], self._sigmas[step + 1]
            v = self._flow.velocity(x, self._times[step].expand(len(x)), conditions)
            clean = x - sigma * v
            x = x + (next_sigma - sigma) * v
        return x, clean

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Turn float32 [B, *latent_shape] into uint8 [B, height, width, 3]; black where latents are not finite."""
        images = [decode_latents(self._pipeline.vae, one[None].to(self._device)) for one in latents]
        factor = self._pipeline.vae_scale_factor
        shape = (0, self.latent_shape[1] * factor, self.latent_shape[2] * factor, 3)
        return np.concatenate(images) if images else np.zeros(shape, np.uint8)


@torch.no_grad()
def encode_texts(pipeline: FluxPipeline, texts: Sequence[str], tokens: int, device: torch.device) -> FluxConditions:
    """Encode prompts with T5 and CLIP, in batches of one fixed shape, and leave the encoders where they were.

    Args:
        pipeline: with its text encoders.
        texts: prompts, at least one.
        tokens: T5 tokens each is padded or cut to.
        device: where the encoders run.

    Returns:
        Conditions on the CPU.
    """
    long = sum(len(ids) > tokens for ids in pipeline.tokenizer_2(list(texts), verbose=False).input_ids)
    if long:
        log.warning("%d of %d prompts have more than %d T5 tokens: their ends are not read", long, len(texts), tokens)
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    home = pipeline.text_encoder_2.device
    for encoder in encoders:
        encoder.to(device)
    prompts, pooled = [], []
    with loading.quiet():
        for rows in _batches(len(texts), TEXTS_AT_ONCE):
            batch = [texts[row] for row in rows]
            encoded = pipeline.encode_prompt(batch, None, device=device, max_sequence_length=tokens)
            real = len(set(rows))
            prompts.append(encoded[0][:real].cpu())
            pooled.append(encoded[1][:real].cpu())
    for encoder in encoders:
        encoder.to(home)
    return FluxConditions(torch.cat(prompts), torch.cat(pooled))


def decode_latents(vae: AutoencoderKL, latents: torch.Tensor) -> np.ndarray:
    """Turn [B, C, h, w] latents into uint8 [B, height, width, 3], rounded as diffusers' VaeImageProcessor does."""
    unscaled = latents / vae.config.scaling_factor + vae.config.shift_factor
    images = vae.decode(unscaled.to(vae.dtype), return_dict=False)[0].float()
    levels = torch.nan_to_num((images / 2 + 0.5).clamp(0, 1)).permute(0, 2, 3, 1) * 255
    return levels.round().to(torch.uint8).cpu().numpy()


def _batches(count: int, size: int) -> Iterator[list[int]]:
    """Yield the rows 0 .. count - 1 in batches of one size, the last filled up with the last row."""
    for start in range(0, count, size):
        yield [min(row, count - 1) for row in range(start, start + size)]
