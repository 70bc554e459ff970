"""Initial noises and what was done to them since: recipes by which any candidate can be made again."""

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
class Ascent:
    """A step up the verifier's gradient, on the sphere.

    Attributes:
        rate: length of the step as a share of the noise's.
        steps: last denoising steps that the gradient went through.
    """

    rate: float
    steps: int


@dataclass(frozen=True, slots=True)
class Renoising:
    """Fresh noise on a latent part of the way.

    Attributes:
        seed: of the noise (see `irgen.seeds`).
        from_step: down to which the latent was denoised.
        to_step: back to which it was noised.
    """

    seed: str
    from_step: int
    to_step: int


Change = Perturbation | Ascent | Renoising
KINDS: dict[str, type[Change]] = {"perturbation": Perturbation, "ascent": Ascent, "renoising": Renoising}
"""By the name that records give them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a candidate was made: a noise drawn from a seed, then changed in order."""

    seed: str
    changes: tuple[Change, ...] = ()

    def changed(self, change: Change) -> Recipe:
        """Return the recipe with one more change."""
        return Recipe(self.seed, (*self.changes, change))

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as the score sheet holds it."""
        names = {kind: name for name, kind in KINDS.items()}
        return {"seed": self.seed, "changes": [{"kind": names[type(one)], **asdict(one)} for one in self.changes]}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Recipe:
        """Build a recipe from a score sheet's `noise`."""
        changes = []
        for each in document["changes"]:
            fields = dict(each)
            changes.append(KINDS[fields.pop("kind")](**fields))
        return cls(document["seed"], tuple(changes))


def draw(seed: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw standard normal noise, float32 of `shape`, one stream an image, always on the CPU."""
    return seeds.stream(seed).standard_normal(shape, dtype=np.float32)


def make(recipe: Recipe, shape: tuple[int, ...]) -> np.ndarray:
    """Make the noise of a recipe that has no changes but perturbations, float32 of `shape`; see `remaking` for all."""
    noise = draw(recipe.seed, shape)
    for change in recipe.changes:
        assert isinstance(change, Perturbation), change
        noise = neighbour(noise, draw(change.seed, shape), change.cosine)
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


def ascended(noise: np.ndarray, gradient: np.ndarray, rate: float) -> np.ndarray:
    """Return the noise after a step of length rate |n| along the gradient and back onto the sphere, float32.

    The length of standard normal noise hardly varies, so a step that changed it would leave what the generator knows.
    """
    n = noise.astype(np.float64).ravel()
    g = gradient.astype(np.float64).ravel()
    length = np.sqrt(np.sum(n * n))
    y = n + rate * length * g / np.sqrt(np.sum(g * g))
    y *= length / np.sqrt(np.sum(y * y))
    return y.reshape(noise.shape).astype(np.float32)
