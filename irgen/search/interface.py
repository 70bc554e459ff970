"""What a search needs of a generator and a verifier. It knows neither diffusers nor files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

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
            `latents` at the end. Decoding it gives a preview without another forward.
    """

    latents: torch.Tensor
    clean: torch.Tensor


C = TypeVar("C", bound=Conditions)


class Generator(Protocol[C]):
    """Text and noise to image, step by step. An image never depends on its neighbours in a batch."""

    steps: int
    latent_shape: tuple[int, ...]
    nfe: int
    """Forwards made so far, one an image and step; padding rows are not counted."""

    def encode(self, texts: Sequence[str]) -> C:
        """Encode prompts, a row each."""
        ...

    def denoise(self, latents: torch.Tensor, conditions: C, from_step: int, to_step: int) -> Denoised:
        """Take float32 [B, *latent_shape] from one step to another, 0 <= from_step < to_step <= steps.

        At step 0 the latents are standard normal noise. B may be any number: the generator runs it in batches of
        one fixed, padded shape.
        """
        ...

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Turn float32 [B, *latent_shape] into uint8 [B, height, width, 3]; black where latents are not finite."""
        ...


@dataclass(frozen=True, slots=True)
class Scores:
    """Verdicts on a batch.

    Attributes:
        value: float64 [B]; larger is better; NaN is a dead candidate.
        parts: what the value is made of, for the score sheet: name -> float64 [B].
    """

    value: np.ndarray
    parts: dict[str, np.ndarray]


class Verifier(Protocol):
    """Image and caption to score."""

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, height, width, 3] against their bare captions; any B."""
        ...
