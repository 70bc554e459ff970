"""A search: simulated annealing among noises, zero-order search that sometimes goes downhill, ever less often."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from irgen import seeds
from irgen.search import Found, Generator, Prompt, Verifier
from irgen.search.bench import Bench, Track
from irgen.search.noises import Perturbation
from irgen.search.random import independent
from irgen.settings import Settings


class Annealing(Settings):
    """Settings of the search, and the search itself."""

    VERSION: ClassVar[int] = 1
    moves: int = Field(11, ge=1, description="Noises tried after the first.")
    cosine: float = Field(0.7, ge=0, lt=1, description="Between a noise and the next; larger is a smaller step.")
    temperature: float = Field(0.02, gt=0, description="A fall of the score by so much is at first taken once in e.")
    cooling: float = Field(0.8, gt=0, le=1, description="The temperature's factor from move to move.")

    def forwards(self, steps: int) -> int:
        """Return the forwards that an image costs, at most; the plan and the report count by it."""
        return (1 + self.moves) * steps

    def search(
        self,
        generator: Generator[Any],
        verifier: Verifier,
        prompts: Sequence[Prompt],
        *,
        seed: int,
        attempt: int,
        batch: int,
        all_images: bool,
    ) -> list[Found]:
        """Search one image for each prompt; see `irgen.search.search` for the arguments.

        All randomness comes from (seed, the prompt's index, purpose, attempt): what is found for one prompt depends
        neither on the others nor on the batch.
        """
        bench = Bench(generator, verifier, prompts, batch, all_images)
        places = independent(bench, 1, seed, attempt)
        bench.advance(places, generator.steps)
        for move in range(self.moves):
            tried = [self._beside(bench, place, move, seed, attempt) for place in places]
            bench.advance(tried, generator.steps)
            pairs = zip(places, tried, strict=True)
            places = [new if self._taken(bench, old, new, move, seed, attempt) else old for old, new in pairs]
        return bench.done()

    def _beside(self, bench: Bench[Any], place: Track, move: int, seed: int, attempt: int) -> Track:
        index = bench.found[place.row].prompt.index
        direction = seeds.derive(seed, index, f"annealing/{move}", attempt)
        return bench.begin(place.row, bench.candidate(place).recipe.changed(Perturbation(direction, self.cosine)))

    def _taken(self, bench: Bench[Any], old: Track, new: Track, move: int, seed: int, attempt: int) -> bool:
        """Metropolis' rule: always uphill, downhill by chance; from a dead candidate always, to one never."""
        before, after = bench.candidate(old), bench.candidate(new)
        if before.dead or after.dead:
            return bool(before.dead)
        index = bench.found[old.row].prompt.index
        drawn = seeds.generator(seed, index, f"annealing/{move}/taken", attempt).random()
        rise = min(0.0, after.score - before.score)
        return bool(drawn < math.exp(rise / (self.temperature * self.cooling**move)))
