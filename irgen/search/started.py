"""A generator whose denoising starts from images: what is drawn keeps their layout, as far as the noise leaves it.

An image's latent is noised to the level of step `first`, and steps are counted from there (SDEdit, arXiv 2108.01073).
With masks only what lies in them is drawn: after each step all else is set back to the image, noised to that step by
the noise it began with (blended latent diffusion, arXiv 2206.02779, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import torch

from irgen.search.interface import C, Denoised, Generator


@dataclass(frozen=True)
class StartedConditions(Generic[C]):
    """Encoded prompts and what each starts from.

    Attributes:
        inner: the generator's own.
        images: latents, float32 [B, *latent_shape].
        masks: float32 [B, 1, h, w], 1 where to draw; None to draw everywhere.
    """

    inner: C
    images: torch.Tensor
    masks: torch.Tensor | None

    def take(self, rows: Sequence[int]) -> StartedConditions[C]:
        """Return the conditions of the given rows, which may repeat."""
        chosen = list(rows)
        masks = self.masks[chosen] if self.masks is not None else None
        return StartedConditions(self.inner.take(rows), self.images[chosen], masks)


class Started:
    """A `Generator` over another one, for the prompts whose images are given, in their order.

    Noise is standard normal at step 0 here, too: it is what the images are noised with. So searches work on it as on
    any generator; back at step 0, a path begins anew from its image.

    Args:
        generator: takes over from step `first`.
        images: latents, float32 [P, *latent_shape].
        masks: float32 [P, 1, h, w], 1 where to draw; None to draw everywhere.
        first: 1 to steps - 1; the later, the closer to the images.

    Raises:
        ValueError: `first` out of range.
    """

    def __init__(self, generator: Generator[Any], images: torch.Tensor, masks: torch.Tensor | None, first: int) -> None:
        if not 0 < first < generator.steps:
            raise ValueError(f"first step {first} of {generator.steps}")
        self._inner = generator
        self._images, self._masks = images, masks
        self._first = first
        self.steps = generator.steps - first
        self.latent_shape = generator.latent_shape
        self.nfe_per_forward = generator.nfe_per_forward

    @property
    def nfe(self) -> int:
        """Evaluations made so far by the generator underneath."""
        return self._inner.nfe

    @nfe.setter
    def nfe(self, count: int) -> None:
        self._inner.nfe = count

    def encode(self, texts: Sequence[str]) -> StartedConditions[Any]:
        """Encode the prompts, all of them in the order of their images.

        Raises:
            ValueError: not as many as images.
        """
        if len(texts) != len(self._images):
            raise ValueError(f"{len(texts)} prompts, {len(self._images)} images to start from")
        return StartedConditions(self._inner.encode(texts), self._images, self._masks)

    def denoise(
        self, latents: torch.Tensor, conditions: StartedConditions[Any], from_step: int, to_step: int
    ) -> Denoised:
        """See `Generator.denoise`."""
        at, end = from_step + self._first, to_step + self._first
        if from_step == 0:
            latents = self._noised(conditions.images, at, latents)
        if conditions.masks is None:
            return self._inner.denoise(latents, conditions.inner, at, end)
        noise = self._noise(latents, conditions.images, at)
        clean = latents
        for step in range(at, end):
            reached = self._inner.denoise(latents, conditions.inner, step, step + 1)
            kept = self._noised(conditions.images, step + 1, noise)
            latents = torch.where(conditions.masks > 0, reached.latents, kept)
            clean = torch.where(conditions.masks > 0, reached.clean, conditions.images)
        return Denoised(latents, latents if end == self._inner.steps else clean)

    def _noised(self, images: torch.Tensor, step: int, noise: torch.Tensor) -> torch.Tensor:
        """Return images noised to a step: alpha x + sigma noise."""
        steps = self._inner.steps
        return images if step == steps else self._inner.noised(images, steps, step, noise)

    def _noise(self, latents: torch.Tensor, images: torch.Tensor, step: int) -> torch.Tensor:
        """Return the noise that latents hold outside of the masks, where they are noised images."""
        zero = torch.zeros_like(latents)
        sigma = self._noised(zero, step, torch.ones_like(latents))
        return (latents - self._noised(images, step, zero)) / sigma

    def noised(self, latents: torch.Tensor, from_step: int, to_step: int, noise: torch.Tensor) -> torch.Tensor:
        """See `Generator.noised`; at step 0 nothing is left of the latents."""
        if to_step == 0:
            return noise
        return self._inner.noised(latents, from_step + self._first, to_step + self._first, noise)

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """See `Generator.decode`."""
        return self._inner.decode(latents)
