"""The step loop that every family runs under, so that a search can stop, score and go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from irgen import devices
from irgen.generators import placing
from irgen.generators.conditions import Conditions, Rows, encode_rows, fixed_batches
from irgen.generators.levels import Levels
from irgen.search.interface import BACKWARD_FORWARDS, Denoised


class Family(Protocol):
    """What is different between FLUX, SDXL, PixArt and DiT: inputs, outputs, and where the noise levels lie.

    Attributes:
        latent_shape: (channels, height, width) of one image's latents.
        image_size_px: (height, width).
        levels: of the steps.
        guidance: of classifier-free guidance, which takes a second forward; 1 is none.
        denoiser: the network that `forward` calls; where it is, latents and conditions are moved.
        encoders: the text encoders, moved there while they are needed.
    """

    latent_shape: tuple[int, ...]
    image_size_px: tuple[int, int]
    levels: Levels
    guidance: float
    denoiser: torch.nn.Module
    encoders: tuple[torch.nn.Module, ...]

    def check(self, texts: Sequence[str]) -> None:
        """Refuse prompts that cannot be read, and warn of those that are read in part."""
        ...

    def encode(self, texts: list[str]) -> Rows:
        """Encode prompts, a row each; the empty text is no prompt at all."""
        ...

    def forward(self, x: torch.Tensor, times: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the network's prediction, float32 [B, *latent_shape].

        Args:
            x: float32 [B, *latent_shape].
            times: of `levels.times`, [B].
            rows: conditions, B of each.
        """
        ...

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images, float [B, 3, height, width] in -1..1, into float32 [B, *latent_shape]."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn float32 [B, *latent_shape] into images, float [B, 3, height, width], about -1..1."""
        ...


class Engine:
    """A `search.Generator` over a family, and a `Differentiable` one.

    Forwards, texts and decodings run in batches of one fixed shape, filled up by repeating a row: so an image's bits
    depend on its text and noise alone. Calls are deterministic, and only `pixels` keeps gradients.

    Attributes:
        family: of the base.
        steps: of a whole denoising.
        latent_shape: (channels, height, width) of one image's latents.
        nfe_per_forward: evaluations of the network for one image and step: 2 with classifier-free guidance, else 1.
        nfe: evaluations made so far; padding rows are not counted.
    """

    def __init__(self, family: Family, batch_size: int, decode_batch: int = 1) -> None:
        """Take over a family whose networks are on the device where they shall run.

        Args:
            family: its encoders may be away where `encode` is not needed.
            batch_size: images of every forward, where the device treats them alike (`devices.rows_at_once`).
            decode_batch: images of every decoding, likewise.
        """
        self.family = family
        self.steps = family.levels.steps
        self.latent_shape = family.latent_shape
        self.nfe_per_forward = 2 if family.guidance > 1 else 1
        self.nfe = 0
        self._batch_size = devices.rows_at_once(batch_size)
        self._decode_batch = devices.rows_at_once(decode_batch)
        self._device = next(family.denoiser.parameters()).device
        self._times = family.levels.times.to(self._device)

    def encode(self, texts: Sequence[str]) -> Conditions:
        """Encode prompts, a row each, on the generator's device; each different text once.

        Raises:
            SettingsError: a prompt that the family cannot read (a class that DiT does not know).
        """
        family = self.family
        family.check(texts)
        asked = [*texts, ""] if self.nfe_per_forward == 2 else list(texts)
        with placing.room_for(family.encoders, family.denoiser, self._device):
            rows = encode_rows(asked, family.encode)
        null = {name: one[len(texts) :] for name, one in rows.items()} if len(asked) > len(texts) else {}
        return Conditions({name: one[: len(texts)] for name, one in rows.items()}, null).to(self._device)

    def denoise(self, latents: torch.Tensor, conditions: Conditions, from_step: int, to_step: int) -> Denoised:
        """Take float32 [B, *latent_shape] from one step to another, 0 <= from_step < to_step <= steps; any B.

        Returns:
            Latents and clean-image estimates on the device of `latents`.

        Raises:
            ValueError: steps out of range, or conditions of another number of rows.
        """
        self._check(latents, conditions, from_step, to_step)
        # Made outside of inference mode: what is reached may be a leaf of `pixels`.
        reached, clean = torch.empty_like(latents), torch.empty_like(latents)
        with torch.inference_mode():
            for rows in fixed_batches(len(latents), self._batch_size):
                real = len(set(rows))
                x, x0 = self._denoise_batch(latents[rows].to(self._device), conditions.take(rows), from_step, to_step)
                reached[rows[:real]] = x[:real].to(latents.device)
                clean[rows[:real]] = x0[:real].to(latents.device)
        self.nfe += len(latents) * (to_step - from_step) * self.nfe_per_forward
        return Denoised(reached, clean)

    def _denoise_batch(
        self, x: torch.Tensor, conditions: Conditions, from_step: int, to_step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self.family.levels
        clean = x = x * levels.initial_scale if from_step == 0 else x
        rows = self._network_rows(conditions)
        for step in range(from_step, to_step):
            clean, noise = levels.split(x, self._predict(x, step, rows), step)
            x = levels.mixed(clean, noise, step + 1)
        # Some schedulers end a hair above sigma 0: what is kept there is the image.
        return x, x if to_step == self.steps else clean

    def _network_rows(self, conditions: Conditions) -> Rows:
        """Return the rows of a forward: with guidance those of no prompt, then the prompts'."""
        if self.nfe_per_forward == 1:
            return conditions.rows
        count = len(conditions)
        return {
            name: torch.cat([conditions.null[name].expand(count, *one.shape[1:]), one])
            for name, one in conditions.rows.items()
        }

    def _predict(self, x: torch.Tensor, step: int, rows: Rows) -> torch.Tensor:
        time = self._times[step]
        if self.nfe_per_forward == 1:
            return self.family.forward(x, time.expand(len(x)), rows)
        # Classifier-free guidance, arXiv 2207.12598 equation 6, with w + 1 for the scale.
        null, asked = self.family.forward(torch.cat([x, x]), time.expand(2 * len(x)), rows).chunk(2)
        return null + self.family.guidance * (asked - null)

    def noised(self, latents: torch.Tensor, from_step: int, to_step: int, noise: torch.Tensor) -> torch.Tensor:
        """Take float32 [B, *latent_shape] back to an earlier step by fresh noise; see `Levels.noised`."""
        return self.family.levels.noised(latents, from_step, to_step, noise)

    def pixels(self, latents: torch.Tensor, conditions: Conditions, from_step: int) -> torch.Tensor:
        """Finish latents from a step, 0 <= from_step < steps, and decode them, keeping gradients; nothing is padded.

        The memory of a step's activations is kept for every step until the way back.

        Args:
            latents: float32 [B, *latent_shape]; the gradient's leaf.
            conditions: B rows.
            from_step: of the latents.

        Returns:
            float32 [B, 3, height, width] in 0..1, on the generator's device.

        Raises:
            ValueError: a step out of range, or conditions of another number of rows.
        """
        self._check(latents, conditions, from_step, self.steps)
        finished, _ = self._denoise_batch(latents.to(self._device), conditions, from_step, self.steps)
        evaluations = (self.steps - from_step) * self.nfe_per_forward
        self.nfe += len(latents) * evaluations * (1 + BACKWARD_FORWARDS)
        return (self.family.decode(finished).float() / 2 + 0.5).clamp(0, 1)

    def _check(self, latents: torch.Tensor, conditions: Conditions, from_step: int, to_step: int) -> None:
        if not 0 <= from_step < to_step <= self.steps:
            raise ValueError(f"steps {from_step} to {to_step} of {self.steps}")
        if len(conditions) != len(latents):
            raise ValueError(f"{len(latents)} latents, {len(conditions)} conditions")

    @torch.no_grad()
    def latents_of(self, images: np.ndarray) -> torch.Tensor:
        """Turn gray images, uint8 [B, height, width], into float32 [B, *latent_shape] on the CPU, one at a time."""
        pixels = torch.from_numpy(images).float() / 127.5 - 1
        rows = [self.family.encode_images(one.expand(1, 3, -1, -1).to(self._device)).float().cpu() for one in pixels]
        return torch.cat(rows)

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Turn float32 [B, *latent_shape] into uint8 [B, height, width, 3]; black where latents are not finite."""
        images = np.zeros((len(latents), *self.family.image_size_px, 3), np.uint8)
        for rows in fixed_batches(len(latents), self._decode_batch):
            real = len(set(rows))
            images[rows[:real]] = to_uint8(self.family.decode(latents[rows].to(self._device)))[:real]
        return images


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Turn [B, 3, H, W] in -1..1 into uint8 [B, H, W, 3], rounded as diffusers' VaeImageProcessor does."""
    levels = torch.nan_to_num((images.float() / 2 + 0.5).clamp(0, 1)).permute(0, 2, 3, 1) * 255
    return levels.round().to(torch.uint8).cpu().numpy()
