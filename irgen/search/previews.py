"""What previews say at every step: the measurements that a keep schedule is calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from irgen import seeds
from irgen.search.bench import Bench
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Recipe, draw


def preview_rewards(
    generator: Generator[C], verifier: Verifier, prompts: Sequence[Prompt], noises: int, *, seed: int, batch: int
) -> np.ndarray:
    """Score the previews of independent noises at every step; NFE = prompts x noises x steps.

    Args:
        generator: makes the images.
        verifier: scores them.
        prompts: what they show.
        noises: of each prompt; none of them is a search's.
        seed: of the dataset.
        batch: images in memory at once.

    Returns:
        float64 [prompts, noises, steps], the last step's of the finished image; NaN where dead, and after that.
    """
    bench = Bench(generator, verifier, prompts, batch)
    tracks = [
        bench.begin(row, Recipe(seeds.derive(seed, prompt.index, f"policy/{number}")))
        for row, prompt in enumerate(prompts)
        for number in range(noises)
    ]
    rewards = np.full((len(prompts), noises, generator.steps), np.nan)
    for step in range(1, generator.steps + 1):
        tracks = [track for track in tracks if not bench.candidate(track).dead]
        bench.advance(tracks, step)
        for track in tracks:
            one = bench.candidate(track)
            rewards[track.row, track.number, step - 1] = one.score if step == generator.steps else one.preview
    return rewards


def unguided_images(
    generator: Generator[C], prompts: Sequence[Prompt], noises: int, *, seed: int, batch: int
) -> np.ndarray:
    """Make images of independent noises, without a search; NFE = prompts x noises x steps.

    Returns:
        uint8 [prompts, noises, height, width, 3]; black where not finite.
    """
    conditions = generator.encode([prompt.text for prompt in prompts])
    jobs = [
        (row, seeds.derive(seed, each.index, f"unguided/{k}"))
        for row, each in enumerate(prompts)
        for k in range(noises)
    ]
    made = []
    for start in range(0, len(jobs), batch):
        chunk = jobs[start : start + batch]
        noise = torch.from_numpy(np.stack([draw(own, generator.latent_shape) for _, own in chunk]))
        rows = conditions.take([row for row, _ in chunk])
        made.append(generator.decode(generator.denoise(noise, rows, 0, generator.steps).latents))
    stacked = np.concatenate(made)
    return stacked.reshape(len(prompts), noises, *stacked.shape[1:])
