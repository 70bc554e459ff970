"""Random search, best of N: the baseline that every other search has to beat (arXiv 2501.09732 section 3.2)."""

from collections.abc import Sequence

from irgen import seeds
from irgen.search.bench import Bench, Track
from irgen.search.candidates import Found
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Recipe
from irgen.settings import RandomSearch


def random(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: RandomSearch,
    *,
    seed: int,
    attempt: int,
    batch: int,
    all_images: bool = False,
) -> list[Found]:
    """Render `settings.candidates` independent noises for each prompt; NFE = candidates x steps."""
    bench = Bench(generator, verifier, prompts, batch, all_images)
    bench.advance(independent(bench, settings.candidates, seed, attempt), generator.steps)
    return bench.done()


def independent(bench: Bench[C], count: int, seed: int, attempt: int) -> list[Track]:
    """Begin `count` independent noises for each prompt; the first n do not depend on how many there are."""
    return [
        bench.begin(row, Recipe(seeds.derive(seed, found.prompt.index, f"noise/{number}", attempt)))
        for row, found in enumerate(bench.found)
        for number in range(count)
    ]
