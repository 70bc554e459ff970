"""What a search needs of a generator and a verifier. It knows neither diffusers nor files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one image shall show.

    Attributes:
        index: the image's number in the dataset; all its random streams are keyed by it.
        text: what the generator reads: the infrared form of the caption.
        caption: the bare caption, from which a verifier makes the forms it compares.
    """

    index: int
    text: str
    caption: str


class Conditions(Protocol):
    """Encoded prompts, a row each."""

    def take(self, rows: Sequence[int]) -> Self:
        """Return the conditions of the given rows, which may repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Denoised:
    """Latents part of the way.

    Attributes:
        latents: float32 [B, *latent_shape] at the step reached.
        clean: float32 [B, *latent_shape], the clean-image estimate of the last forward, x_t - sigma_t v; equal to
            `latents` at the end. Two of them tell a preview without another forward (`irgen.search.lookahead`).
    """

    latents: torch.Tensor
    clean: torch.Tensor


C = TypeVar("C", bound=Conditions)


class Generator(Protocol[C]):
    """Text and noise to image, step by step. An image never depends on its neighbours in a batch."""

    steps: int
    latent_shape: tuple[int, ...]
    nfe_per_forward: int
    """Evaluations of the network for one image and step: 2 with classifier-free guidance, else 1."""
    nfe: int
    """Evaluations made so far; padding rows are not counted."""

    def encode(self, texts: Sequence[str]) -> C:
        """Encode prompts, a row each."""
        ...

    def denoise(self, latents: torch.Tensor, conditions: C, from_step: int, to_step: int) -> Denoised:
        """Take float32 [B, *latent_shape] from one step to another, 0 <= from_step < to_step <= steps.

        At step 0 the latents are standard normal noise. B may be any number: the generator runs it in batches of
        one fixed, padded shape.
        """
        ...

    def noised(self, latents: torch.Tensor, from_step: int, to_step: int, noise: torch.Tensor) -> torch.Tensor:
        """Take float32 [B, *latent_shape] back to an earlier step by fresh noise, 0 <= to_step < from_step <= steps.

        x (a_t / a_s) + sqrt(s_t^2 - (a_t / a_s)^2 s_s^2) noise, from level s to level t.
        """
        ...

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Turn float32 [B, *latent_shape] into uint8 [B, height, width, 3]; black where latents are not finite."""
        ...


BACKWARD_FORWARDS = 3
"""What a backward pass through a step is counted as, in forwards."""


@runtime_checkable
class Differentiable(Generator[C], Protocol[C]):
    """A generator whose last steps have a gradient."""

    def pixels(self, latents: torch.Tensor, conditions: C, from_step: int) -> torch.Tensor:
        """Finish latents from a step, 0 <= from_step < steps, and decode them, keeping gradients.

        Nothing is padded, so callers give one image at a time where it must not depend on others. The meter counts
        `1 + BACKWARD_FORWARDS` evaluations a step and image: the way there, and the way back that follows.

        Args:
            latents: float32 [B, *latent_shape]; the gradient's leaf.
            conditions: B rows.
            from_step: of the latents.

        Returns:
            float32 [B, 3, height, width] in 0..1.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scores:
    """Verdicts on a batch.

    Attributes:
        value: float64 [B]; larger is better; NaN is a dead candidate.
        parts: what the value is made of, for the score sheet: name -> float64 [B].
        reasons: for each image "" or why its value is NaN; empty where no reason is known.
    """

    value: np.ndarray
    parts: dict[str, np.ndarray]
    reasons: tuple[str, ...] = ()


class Verifier(Protocol):
    """Image and caption to score."""

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, height, width, 3] against their bare captions; any B."""
        ...


@runtime_checkable
class DifferentiableVerifier(Verifier, Protocol):
    """A verifier with a gradient."""

    def score_pixels(self, pixels: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        """Score float32 [B, 3, height, width] in 0..1 as `score` does, keeping gradients: float [B]."""
        ...
