"""Search over paths (arXiv 2501.09732 section 3.2): noise what is nearly an image afresh, and go down again.

N noises are denoised to the level sigma. Then, round after round, each gets M fresh noises up by `forward` and goes
down by `backward`, a little more; the N best of a prompt stay. They are judged by the clean-image estimate of the last
forward, which the paper pays one more forward for.

The paper's levels run evenly from 1 (noise) to 0 (image). A generator's own levels may be bent towards noise, and a
search knows them only as steps: level l is step round(steps x (1 - l)), held inside what is possible. With 28 steps
and the paper's levels the first noises go to step 25, the first round back to 3 and down to 26, the next to 4 and 27.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from irgen import seeds
from irgen.search import noises
from irgen.search.bench import Bench, Track
from irgen.search.candidates import Found
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Renoising
from irgen.search.random import independent
from irgen.settings import PathsSearch


class Leg(NamedTuple):
    """One round: from a step back to an earlier one by noise, then down to a later one by denoising."""

    from_step: int
    back_to: int
    down_to: int


def paths(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: PathsSearch,
    *,
    seed: int,
    attempt: int,
    batch: int,
    all_images: bool = False,
) -> list[Found]:
    """Search over paths; NFE as `paths_nfe` says, less where candidates die.

    A prompt whose paths all die brings nothing.
    """
    bench = Bench(generator, verifier, prompts, batch, all_images)
    first, rounds = legs(settings, generator.steps)
    tracks = independent(bench, settings.paths, seed, attempt)
    bench.advance(tracks, first)
    tracks = bench.best(tracks, settings.paths)
    for number, leg in enumerate(rounds):
        children = [
            _renoised(bench, track, leg, f"path/{number}/{place}/{copy}", seed, attempt)
            for place, track in _places(tracks)
            for copy in range(settings.renoisings)
        ]
        bench.advance(children, leg.down_to)
        tracks = _finalists(bench, children, settings.paths, leg.down_to == generator.steps)
    bench.advance(tracks, generator.steps)
    return bench.done()


def legs(settings: PathsSearch, steps: int) -> tuple[int, list[Leg]]:
    """Return the step to which the first noises go, and the rounds; the last one may end at the image."""

    def step_of(level: float) -> int:
        return round(steps * (1 - level))

    level = settings.sigma
    at = first = min(max(step_of(level), 1), steps - 1)
    rounds = []
    for _ in range(settings.length):
        if at == steps:
            break
        back_to = min(max(step_of(level + settings.forward), 1), at - 1)
        level += settings.forward - settings.backward
        down_to = min(max(step_of(level), at), steps)
        rounds.append(Leg(at, back_to, down_to))
        at = down_to
    return first, rounds


def paths_nfe(settings: PathsSearch, steps: int) -> int:
    """Return the forwards of a search in which nothing dies."""
    first, rounds = legs(settings, steps)
    last = rounds[-1].down_to
    renoised = sum(leg.down_to - leg.back_to for leg in rounds) * settings.renoisings
    return settings.paths * (first + renoised) + min(settings.paths, settings.paths * settings.renoisings) * (
        steps - last
    )


def _places(tracks: Sequence[Track]) -> list[tuple[int, Track]]:
    """Number each prompt's tracks."""
    seen: dict[int, int] = {}
    placed = []
    for track in tracks:
        placed.append((seen.setdefault(track.row, 0), track))
        seen[track.row] += 1
    return placed


def _renoised(bench: Bench[C], track: Track, leg: Leg, purpose: str, seed: int, attempt: int) -> Track:
    change = Renoising(
        seeds.derive(seed, bench.found[track.row].prompt.index, purpose, attempt), leg.from_step, leg.back_to
    )
    noise = torch.from_numpy(noises.draw(change.seed, bench.generator.latent_shape))
    latents = bench.generator.noised(bench.noise(track)[None], leg.from_step, leg.back_to, noise[None])[0]
    return bench.begin(track.row, bench.candidate(track).recipe.changed(change), leg.back_to, latents)


def _finalists(bench: Bench[C], children: Sequence[Track], count: int, finished: bool) -> list[Track]:
    """Return the tracks that go on: none once they are images."""
    return [] if finished else bench.best(children, count)
