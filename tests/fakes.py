"""A generator and a verifier of twenty lines each, so that search and samples are tested without a model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from irgen.search import Denoised, Scores


@dataclass(frozen=True)
class FakeConditions:
    texts: tuple[str, ...]

    def take(self, rows: Sequence[int]) -> Self:
        return type(self)(tuple(self.texts[row] for row in rows))


@dataclass
class FakeGenerator:
    """Halves the latents at each step; the image is their squashed value, a pixel a latent."""

    steps: int = 4
    latent_shape: tuple[int, ...] = (3, 4, 5)
    nfe: int = 0
    encoded: list[str] = field(default_factory=list)
    rendered: list[bytes] = field(default_factory=list)

    def encode(self, texts: Sequence[str]) -> FakeConditions:
        self.encoded.extend(texts)
        return FakeConditions(tuple(texts))

    def denoise(self, latents: torch.Tensor, conditions: FakeConditions, from_step: int, to_step: int) -> Denoised:
        assert len(conditions.texts) == len(latents)
        self.nfe += len(latents) * (to_step - from_step)
        self.rendered.extend(row.numpy().tobytes() for row in latents)
        done = latents * 0.9 ** (to_step - from_step)
        return Denoised(done, done)

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        images = torch.sigmoid(torch.nan_to_num(latents)).permute(0, 2, 3, 1).mul(255).round()
        return images.to(torch.uint8).numpy()


@dataclass
class FakeVerifier:
    """Likes bright images."""

    calls: int = 0
    score_is_nan: bool = False

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        assert images.dtype == np.uint8 and len(images) == len(captions)
        self.calls += len(images)
        mean = images.reshape(len(images), -1).mean(axis=1).astype(np.float64)
        value = np.full_like(mean, np.nan) if self.score_is_nan else mean / 255
        return Scores(value, {"cos_infrared": mean / 255, "cos_grayscale": 1 - mean / 255})
