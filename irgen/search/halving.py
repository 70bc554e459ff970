"""Halving: denoise many candidates a little, cut those whose previews score lowest, go on with the rest.

A forward at step t tells the clean image x0 = x_t - sigma_t v beside the next latent; carried on a little
(`irgen.search.lookahead`) and decoded, it is a preview that costs no forward. Where previews predict the end, most
forwards go into candidates that have a chance.
"""

from collections.abc import Sequence

from irgen.search.bench import Bench
from irgen.search.candidates import Found
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.random import independent
from irgen.settings import HalvingSearch


def halving(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: HalvingSearch,
    *,
    seed: int,
    attempt: int,
    batch: int,
    all_images: bool = False,
) -> list[Found]:
    """Go through a keep schedule; NFE = sum over its stages of candidates x steps, less where candidates die early.

    Its first noises are those of random search.

    Raises:
        ValueError: the schedule does not end at the generator's last step.
    """
    if settings.schedule[-1][1] != generator.steps:
        raise ValueError(f"the schedule {settings.schedule} does not end at step {generator.steps}")
    bench = Bench(generator, verifier, prompts, batch, all_images)
    tracks = independent(bench, settings.schedule[0][0], seed, attempt)
    for count, until_step in settings.schedule:
        tracks = bench.best(tracks, count)
        bench.advance(tracks, until_step)
    return bench.done()


def halving_nfe(schedule: Sequence[tuple[int, int]]) -> int:
    """Return the forwards of a keep schedule ((candidates, until_step), ...)."""
    starts = [0, *(until_step for _, until_step in schedule)]
    return sum(count * (until_step - start) for (count, until_step), start in zip(schedule, starts, strict=False))
