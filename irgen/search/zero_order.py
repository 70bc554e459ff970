"""Zero-order search: hill climbing in noise space without gradients (arXiv 2501.09732 section 3.2)."""

from collections.abc import Sequence

from irgen import seeds
from irgen.search.bench import Bench
from irgen.search.candidates import Found
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Perturbation, Recipe
from irgen.search.random import independent
from irgen.settings import ZeroOrderSearch


def zero_order(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: ZeroOrderSearch,
    *,
    seed: int,
    attempt: int,
    batch: int,
    all_images: bool = False,
) -> list[Found]:
    """Move a pivot to the best of its neighbours, several times; NFE = steps x (warm_start + neighbours x iterations).

    The pivot is the best noise so far, its score is never computed again, and it stays where no neighbour is better.
    """
    bench = Bench(generator, verifier, prompts, batch, all_images)
    bench.advance(independent(bench, settings.warm_start, seed, attempt), generator.steps)
    for iteration in range(settings.iterations):
        around = [
            bench.begin(row, recipe)
            for row, found in enumerate(bench.found)
            for recipe in _neighbours(found, settings, seed, attempt, iteration)
        ]
        bench.advance(around, generator.steps)
    return bench.done()


def _neighbours(found: Found, settings: ZeroOrderSearch, seed: int, attempt: int, iteration: int) -> list[Recipe]:
    """Return the recipes around a prompt's pivot; where all candidates are dead, around the first."""
    assert settings.cosine is not None, "settled before: irgen.guiding.settle"
    pivot = found.kept or found.candidates[0]
    directions = (
        seeds.derive(seed, found.prompt.index, f"neighbour/{iteration}/{number}", attempt)
        for number in range(settings.neighbours)
    )
    return [pivot.recipe.changed(Perturbation(direction, settings.cosine)) for direction in directions]
