"""Initial noises, each with the recipe by which it can be made again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from irgen import seeds


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A step on the sphere around a noise.

    Attributes:
        seed: of the direction (see `irgen.seeds`).
        cosine: between the noise before and after, 0 to 1; larger is a smaller step.
    """

    seed: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a noise was made: drawn from a seed, then perturbed in order."""

    seed: str
    perturbations: tuple[Perturbation, ...] = ()

    def perturbed(self, seed: str, cosine: float) -> Recipe:
        """Return the recipe of a neighbour."""
        return Recipe(self.seed, (*self.perturbations, Perturbation(seed, cosine)))

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as the score sheet holds it."""
        return asdict(self) | {"perturbations": [asdict(step) for step in self.perturbations]}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Recipe:
        """Build a recipe from a score sheet's `noise`."""
        return cls(document["seed"], tuple(Perturbation(**step) for step in document["perturbations"]))


def make(recipe: Recipe, shape: tuple[int, ...]) -> np.ndarray:
    """Make a noise, float32 of `shape`, one stream an image, always on the CPU."""
    noise = seeds.stream(recipe.seed).standard_normal(shape, dtype=np.float32)
    for step in recipe.perturbations:
        noise = neighbour(noise, seeds.stream(step.seed).standard_normal(shape, dtype=np.float32), step.cosine)
    return noise


def neighbour(pivot: np.ndarray, direction: np.ndarray, cosine: float) -> np.ndarray:
    """Return the noise at a given cosine from the pivot, of the pivot's length, float32.

    y = |n| (L u + sqrt(1 - L^2) w) with u = n / |n| and w the direction's part orthogonal to u, normalised
    (zero-order search, arXiv 2501.09732 section 3.2, with the neighbourhood on the sphere).
    """
    n = pivot.astype(np.float64).ravel()
    v = direction.astype(np.float64).ravel()
    # np.sum, not a BLAS dot: its order of additions, hence its last bit, does not depend on the number of threads.
    length = np.sqrt(np.sum(n * n))
    u = n / length
    w = v - np.sum(v * u) * u
    w /= np.sqrt(np.sum(w * w))
    y = length * (cosine * u + np.sqrt(1 - cosine**2) * w)
    return y.reshape(pivot.shape).astype(np.float32)
