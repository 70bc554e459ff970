"""Zero-order search: hill climbing in noise space without gradients (arXiv 2501.09732 section 3.2)."""

from collections.abc import Sequence

from irgen import seeds
from irgen.search.candidates import Found, render
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Recipe
from irgen.search.random import fresh
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
) -> list[Found]:
    """Move a pivot to the best of its neighbours, several times; NFE = steps x (warm_start + neighbours x iterations).

    The pivot is the best noise so far, its score is never computed again, and it stays where no neighbour is better.
    """
    found = [Found(prompt) for prompt in prompts]
    conditions = generator.encode([prompt.text for prompt in prompts])
    first = [[fresh(seed, prompt, number, attempt) for number in range(settings.warm_start)] for prompt in prompts]
    render(generator, verifier, conditions, found, first, batch)
    for iteration in range(settings.iterations):
        around = [_neighbours(one, settings, seed, attempt, iteration) for one in found]
        render(generator, verifier, conditions, found, around, batch)
    return found


def _neighbours(found: Found, settings: ZeroOrderSearch, seed: int, attempt: int, iteration: int) -> list[Recipe]:
    """Return the recipes around a prompt's pivot; where all candidates are dead, around the first."""
    pivot = found.kept or found.candidates[0]
    return [
        pivot.recipe.perturbed(
            seeds.derive(seed, found.prompt.index, f"neighbour/{iteration}/{number}", attempt), settings.cosine
        )
        for number in range(settings.neighbours)
    ]
