"""Candidates, and what is kept of a search."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from irgen.search.interface import Prompt
from irgen.search.noises import Recipe


@dataclass(frozen=True, slots=True)
class Candidate:
    """One noise, denoised to the end or part of the way.

    Attributes:
        number: order of beginning within its prompt; 0 is the one that would have been taken without a search.
        recipe: how it was made.
        step: the denoising step it reached.
        score: the verifier's of the finished image; NaN where it is dead or was cut before the end.
        preview: the verifier's of its last clean-image preview; NaN where none was scored, or it had no score.
        parts: what the last score is made of.
        nfe: spent on it, beyond what its recipe's earlier candidates had spent.
        dead: "" or the reason why it cannot be kept.
    """

    number: int
    recipe: Recipe
    step: int
    score: float
    preview: float
    parts: dict[str, float]
    nfe: int
    dead: str

    @property
    def is_image(self) -> bool:
        """Whether it is finished and sound, so that it may be kept."""
        return bool(np.isfinite(self.score))


@dataclass(frozen=True, slots=True)
class Unguided:
    """The image that no search would have given: the first noise, denoised to the end.

    Attributes:
        score: the verifier's.
        image: uint8 [height, width, 3].
        nfe: spent on it for the sake of comparison alone, after the search had cut it; no part of the search's.
    """

    score: float
    image: np.ndarray
    nfe: int


@dataclass(slots=True)
class Found:
    """What a search brought for one prompt; images are uint8 [height, width, 3].

    Attributes:
        prompt: what was asked for.
        candidates: all that were begun, in order.
        images: of the finished candidates that may still be wanted, by number: the first, the best and the worst, or
            all of them.
        previews: decoded and scored on the way; they cost no NFE, but time.
        finished_later: the first candidate's end, where the search had cut it.
        all_images: whether the images of all finished candidates stay.
        chosen: the candidate that a choice among all prompts' candidates fell on; None keeps the best.
    """

    prompt: Prompt
    candidates: list[Candidate] = field(default_factory=list)
    images: dict[int, np.ndarray] = field(default_factory=dict)
    previews: int = 0
    finished_later: Unguided | None = None
    all_images: bool = False
    chosen: int | None = None

    def alive(self) -> list[Candidate]:
        """Return the candidates that could be kept, best first; of equal scores the earlier one."""
        return sorted((one for one in self.candidates if one.is_image), key=lambda one: (-one.score, one.number))

    @property
    def kept(self) -> Candidate | None:
        """The best candidate, or the chosen one; None where none is a sound image."""
        if self.chosen is not None:
            return self.candidates[self.chosen]
        alive = self.alive()
        return alive[0] if alive else None

    @property
    def worst(self) -> Candidate | None:
        """The finished candidate with the lowest score: where its image is the better one, the verifier lies."""
        alive = self.alive()
        return alive[-1] if alive else None

    @property
    def unguided(self) -> Unguided | None:
        """The first candidate's image, whether the search finished it or not; None where it died."""
        if self.candidates and self.candidates[0].is_image:
            return Unguided(self.candidates[0].score, self.images[0], 0)
        return self.finished_later

    @property
    def nfe(self) -> int:
        """Spent by the search."""
        return sum(one.nfe for one in self.candidates)

    def finish(self, candidate: Candidate, image: np.ndarray) -> None:
        """Take a finished candidate's image in, and let go of images that can no longer be wanted."""
        self.candidates[candidate.number] = candidate
        self.images[candidate.number] = image
        if self.all_images:
            return
        wanted = {0} | {one.number for one in (self.kept, self.worst) if one is not None}
        self.images = {number: image for number, image in self.images.items() if number in wanted}
