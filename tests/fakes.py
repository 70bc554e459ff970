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
    """Shrinks the latents at each step; the image is their squashed value, a pixel a latent."""

    steps: int = 4
    latent_shape: tuple[int, ...] = (3, 4, 5)
    nfe_per_forward: int = 1
    nfe: int = 0
    encoded: list[str] = field(default_factory=list)
    rendered: list[bytes] = field(default_factory=list)
    """Latents that were asked for, with the step they were at."""

    def encode(self, texts: Sequence[str]) -> FakeConditions:
        self.encoded.extend(texts)
        return FakeConditions(tuple(texts))

    def denoise(self, latents: torch.Tensor, conditions: FakeConditions, from_step: int, to_step: int) -> Denoised:
        assert len(conditions.texts) == len(latents) and 0 <= from_step < to_step <= self.steps
        self.nfe += len(latents) * (to_step - from_step) * self.nfe_per_forward
        self.rendered.extend(row.numpy().tobytes() + bytes([from_step]) for row in latents)
        done = latents.clone()
        for _ in range(from_step, to_step):
            done = done * 0.9
        return Denoised(done, done * 0.9 ** (self.steps - to_step) if to_step < self.steps else done)

    def noised(self, latents: torch.Tensor, from_step: int, to_step: int, noise: torch.Tensor) -> torch.Tensor:
        assert 0 <= to_step < from_step <= self.steps
        return latents * 0.5 + noise * 0.8

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        images = torch.sigmoid(torch.nan_to_num(latents)).permute(0, 2, 3, 1).mul(255).round()
        return images.to(torch.uint8).numpy()


class FakeDifferentiable(FakeGenerator):
    """With a gradient."""

    def pixels(self, latents: torch.Tensor, conditions: FakeConditions, from_step: int) -> torch.Tensor:
        self.nfe += 4 * len(latents) * (self.steps - from_step) * self.nfe_per_forward
        return torch.sigmoid(latents * 0.9 ** (self.steps - from_step))


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

    def score_pixels(self, pixels: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        return pixels.flatten(1).mean(dim=1)
