"""Candidates: rendering and scoring them, and what is kept of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from irgen.search import noises
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Recipe

FLAT_SD = 1.0
"""An image whose grey levels have a smaller standard deviation (of 255) shows nothing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One rendered noise.

    Attributes:
        number: order of rendering within its prompt; 0 is the image that no search would have given.
        recipe: how its noise was made.
        score: the verifier's; NaN where dead.
        parts: what the score is made of.
        nfe: forwards spent on it.
        dead: "" or the reason why it cannot be kept.
    """

    number: int
    recipe: Recipe
    score: float
    parts: dict[str, float]
    nfe: int
    dead: str


@dataclass(slots=True)
class Found:
    """What a search brought for one prompt; images are uint8 [height, width, 3].

    Attributes:
        prompt: what was asked for.
        candidates: all that were rendered, in order.
        images: of the candidates that may still be wanted, by number: the first, the best and the worst.
    """

    prompt: Prompt
    candidates: list[Candidate] = field(default_factory=list)
    images: dict[int, np.ndarray] = field(default_factory=dict)

    def alive(self) -> list[Candidate]:
        """Return the candidates that could be kept, best first; of equal scores the earlier one."""
        return sorted((one for one in self.candidates if not one.dead), key=lambda one: (-one.score, one.number))

    @property
    def kept(self) -> Candidate | None:
        """The best candidate, None where all are dead."""
        alive = self.alive()
        return alive[0] if alive else None

    @property
    def worst(self) -> Candidate | None:
        """The candidate with the lowest score: where its image is the better one, the verifier lies."""
        alive = self.alive()
        return alive[-1] if alive else None

    @property
    def nfe(self) -> int:
        """Forwards spent."""
        return sum(one.nfe for one in self.candidates)

    def add(self, candidate: Candidate, image: np.ndarray) -> None:
        """Take a candidate in, and let go of images that can no longer be wanted."""
        self.candidates.append(candidate)
        self.images[candidate.number] = image
        wanted = {0} | {one.number for one in (self.kept, self.worst) if one is not None}
        self.images = {number: image for number, image in self.images.items() if number in wanted}


def render(
    generator: Generator[C],
    verifier: Verifier,
    conditions: C,
    found: Sequence[Found],
    recipes: Sequence[Sequence[Recipe]],
    batch: int,
) -> None:
    """Denoise, decode and score the noises of several prompts, and add them to what was found.

    Args:
        generator: makes the images; its `nfe` counts.
        verifier: scores them.
        conditions: of the prompts, a row each, in the order of `found`.
        found: a search's state, a prompt each.
        recipes: for each prompt, the noises to render.
        batch: how many images are in memory at once; results do not depend on it.
    """
    jobs = [(row, recipe) for row, own in enumerate(recipes) for recipe in own]
    for chunk in _chunks(jobs, batch):
        rows = [row for row, _ in chunk]
        noise = torch.from_numpy(np.stack([noises.make(recipe, generator.latent_shape) for _, recipe in chunk]))
        latents = generator.denoise(noise, conditions.take(rows), 0, generator.steps).latents
        images = generator.decode(latents)
        scores = verifier.score(images, [found[row].prompt.caption for row in rows])
        finite = torch.isfinite(latents).flatten(1).all(dim=1).tolist()
        for place, (row, recipe) in enumerate(chunk):
            score = float(scores.value[place])
            dead = _why_dead(finite[place], images[place], score)
            candidate = Candidate(
                number=len(found[row].candidates),
                recipe=recipe,
                score=float("nan") if dead else score,
                parts={name: float(values[place]) for name, values in scores.parts.items()},
                nfe=generator.steps,
                dead=dead,
            )
            found[row].add(candidate, images[place])


def _why_dead(finite: bool, image: np.ndarray, score: float) -> str:
    if not finite:
        return "latents not finite"
    if float(image.std()) < FLAT_SD:
        return "flat image"
    if not np.isfinite(score):
        return "score not finite"
    return ""


def _chunks(jobs: list[tuple[int, Recipe]], size: int) -> Iterator[list[tuple[int, Recipe]]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]
