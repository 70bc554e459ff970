"""Search over noises: small pure functions of a generator, a verifier, prompts and a budget."""

from collections.abc import Sequence
from typing import Any, assert_never

from irgen.search.candidates import Candidate, Found, Unguided
from irgen.search.first_order import first_order, first_order_nfe
from irgen.search.halving import halving, halving_nfe
from irgen.search.interface import (
    C,
    Conditions,
    Denoised,
    Differentiable,
    DifferentiableVerifier,
    Generator,
    Prompt,
    Scores,
    Verifier,
)
from irgen.search.noises import Recipe
from irgen.search.paths import paths, paths_nfe
from irgen.search.previews import preview_rewards
from irgen.search.random import random
from irgen.search.remaking import remake
from irgen.search.zero_order import zero_order
from irgen.settings import (
    CalibratedSearch,
    ExtensionSearch,
    FirstOrderSearch,
    HalvingSearch,
    PathsSearch,
    RandomSearch,
    Search,
    SettledSearch,
    ZeroOrderSearch,
)

__all__ = [
    "Candidate",
    "Conditions",
    "Denoised",
    "Differentiable",
    "DifferentiableVerifier",
    "Found",
    "Generator",
    "Prompt",
    "Recipe",
    "Scores",
    "Unguided",
    "Verifier",
    "first_order",
    "halving",
    "nfe_per_image",
    "paths",
    "preview_rewards",
    "random",
    "remake",
    "search",
    "zero_order",
]


def search(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: SettledSearch,
    *,
    seed: int,
    attempt: int,
    batch: int,
    all_images: bool = False,
) -> list[Found]:
    """Run the algorithm that the settings name.

    Args:
        generator: text and noise to image.
        verifier: image and caption to score.
        prompts: one image each; what is found for one does not depend on the others.
        settings: algorithm and budget; a calibrated one comes as its schedule.
        seed: of the dataset; noises are keyed by it, the prompt's index, their purpose and the attempt.
        attempt: 0, or how many times all candidates were dead before.
        batch: images in memory at once.
        all_images: keep every finished image, for a choice among all prompts' candidates; else those that the prompt
            alone may still want.

    Returns:
        What was found, in the order of the prompts.

    Raises:
        SettingsError: first_order on a generator or verifier without gradients.
    """
    arguments: dict[str, Any] = {"seed": seed, "attempt": attempt, "batch": batch, "all_images": all_images}
    match settings:
        case RandomSearch():
            return random(generator, verifier, prompts, settings, **arguments)
        case ZeroOrderSearch():
            return zero_order(generator, verifier, prompts, settings, **arguments)
        case PathsSearch():
            return paths(generator, verifier, prompts, settings, **arguments)
        case FirstOrderSearch():
            return first_order(generator, verifier, prompts, settings, **arguments)
        case HalvingSearch():
            return halving(generator, verifier, prompts, settings, **arguments)
        case ExtensionSearch():
            found: list[Found] = settings.made().search(generator, verifier, prompts, **arguments)
            return found
        case _:
            assert_never(settings)


def nfe_per_image(settings: Search, steps: int, nfe_per_forward: int = 1) -> int:
    """Return what a search may spend on one image: exactly that where nothing dies, but for first_order, at most.

    Args:
        settings: algorithm and budget.
        steps: of a whole denoising.
        nfe_per_forward: of the generator.
    """
    match settings:
        case RandomSearch():
            forwards = settings.candidates * steps
        case ZeroOrderSearch():
            forwards = (settings.warm_start + settings.neighbours * settings.iterations) * steps
        case PathsSearch():
            forwards = paths_nfe(settings, steps)
        case FirstOrderSearch():
            forwards = first_order_nfe(settings, steps)
        case HalvingSearch():
            forwards = halving_nfe(settings.schedule)
        case ExtensionSearch():
            forwards = settings.made().forwards(steps)
        case CalibratedSearch():
            return settings.nfe
        case _:
            assert_never(settings)
    return forwards * nfe_per_forward
