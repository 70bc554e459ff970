"""Random search, best of N: the baseline that every other search has to beat (arXiv 2501.09732 section 3.2)."""

from collections.abc import Sequence

from irgen import seeds
from irgen.search.candidates import Found, render
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
) -> list[Found]:
    """Render `settings.candidates` independent noises for each prompt; NFE = candidates x steps."""
    found = [Found(prompt) for prompt in prompts]
    conditions = generator.encode([prompt.text for prompt in prompts])
    recipes = [[fresh(seed, prompt, number, attempt) for number in range(settings.candidates)] for prompt in prompts]
    render(generator, verifier, conditions, found, recipes, batch)
    return found


def fresh(seed: int, prompt: Prompt, number: int, attempt: int) -> Recipe:
    """Return the recipe of a prompt's n-th independent noise; the first n do not depend on how many there are."""
    return Recipe(seeds.derive(seed, prompt.index, f"noise/{number}", attempt))
