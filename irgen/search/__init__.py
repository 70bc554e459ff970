"""Search over noises: small pure functions of a generator, a verifier, prompts and a budget."""

from collections.abc import Sequence

from irgen.search.candidates import Candidate, Found
from irgen.search.interface import C, Conditions, Denoised, Generator, Prompt, Scores, Verifier
from irgen.search.noises import Recipe
from irgen.search.random import random
from irgen.search.zero_order import zero_order
from irgen.settings import RandomSearch, Search

__all__ = [
    "Candidate",
    "Conditions",
    "Denoised",
    "Found",
    "Generator",
    "Prompt",
    "Recipe",
    "Scores",
    "Verifier",
    "nfe_per_image",
    "random",
    "search",
    "zero_order",
]


def search(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: Search,
    *,
    seed: int,
    attempt: int,
    batch: int,
) -> list[Found]:
    """Run the algorithm that the settings name.

    Args:
        generator: text and noise to image.
        verifier: image and caption to score.
        prompts: one image each; what is found for one does not depend on the others.
        settings: algorithm and budget.
        seed: of the dataset; noises are keyed by it, the prompt's index, their purpose and the attempt.
        attempt: 0, or how many times all candidates were dead before.
        batch: images in memory at once.

    Returns:
        What was found, in the order of the prompts.
    """
    run = random if isinstance(settings, RandomSearch) else zero_order
    return run(generator, verifier, prompts, settings, seed=seed, attempt=attempt, batch=batch)  # type: ignore[arg-type]


def nfe_per_image(settings: Search, steps: int) -> int:
    """Return the forwards that a search spends on one image."""
    if isinstance(settings, RandomSearch):
        return settings.candidates * steps
    return (settings.warm_start + settings.neighbours * settings.iterations) * steps
