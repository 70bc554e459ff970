"""Samples that the adapted base makes unguided: negatives that keep a search from exploiting its verifier.

A verifier that knows only photos believes whatever flaws the generator has, and best of N picks the worst of them
("verifier hacking", arXiv 2501.09732). Samples are made once and kept until the stage is done, so that an
interrupted run carries on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from irgen import files, seeds
from irgen.captions.forms import infrared
from irgen.errors import WeightsError
from irgen.progress import bar
from irgen.records import Split
from irgen.search import lookahead
from irgen.search.interface import Generator
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import OWN, Examples, squashed

PREVIEW_SHARES = (0.25, 0.4, 0.55, 0.75)
"""Of the steps: where searches cut. Earlier previews do not foretell the end."""
NOISES_A_CAPTION = 4
"""Of held-out samples, so that previews of one caption can be ranked, as a search does."""
FEWEST_HELD_OUT = 64
SEED = 0
BATCH = 8
"""Images of a forward and of a file; fixed, because pixels depend on it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to make.

    Attributes:
        row: of the frame whose caption it shall show.
        seed: of its noise (see `irgen.seeds`).
    """

    row: int
    seed: str


def preview_steps(steps: int) -> tuple[int, ...]:
    """Return the steps, after the first and before the last, at which previews are taken."""
    return tuple(sorted({max(1, round(share * steps)) for share in PREVIEW_SHARES} - {steps}))


def plan(rows: int, split: Split, count: int) -> list[Job]:
    """Choose captions and noises.

    Args:
        rows: captioned frames of the split.
        split: "train" takes captions in rounds, each in its own seeded order; "val" several noises of each caption.
        count: samples of the train split; of the val split there are a quarter as many, `FEWEST_HELD_OUT` at least.

    Returns:
        Jobs, of the val split those of one caption side by side; the first n do not depend on `count`.
    """
    noises = 1 if split == "train" else NOISES_A_CAPTION
    if split != "train":
        count = min(max(count // 4, FEWEST_HELD_OUT), rows * noises)
    jobs: list[Job] = []
    while len(jobs) < count:
        turn = len(jobs) // (rows * noises)
        for row in seeds.generator(SEED, turn, f"own captions {split}").permutation(rows).tolist():
            jobs += [Job(row, seeds.derive(SEED, f"{split}/{row}/{turn}/{k}", "own noise")) for k in range(noises)]
    return jobs[:count]


def with_own(
    clip: Clip,
    examples: Examples,
    split: Split,
    count: int,
    load: Callable[[], Generator[Any]],
    scratch: Path,
    *,
    previews: bool,
) -> Examples:
    """Return the examples with negatives of the kind `own`, made now or by an earlier run.

    Args:
        clip: gives the size.
        examples: of the split.
        split: "train" or "val".
        count: as in `plan`.
        load: gives the adapted base; called only if something is missing.
        scratch: folder that holds what is made, a file a batch.
        previews: whether to add them, too.

    Raises:
        WeightsError: an image is not finite.
    """
    jobs = plan(len(examples), split, count)
    folder = scratch / f"{OWN}-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with bar(f"own {split} samples", len(jobs)) as advance:
        for start in range(0, len(jobs), BATCH):
            batch = jobs[start : start + BATCH]
            path = folder / f"{start:06d}.safetensors"
            if not path.exists():
                captions = [examples.captions[job.row] for job in batch]
                made = _make(clip, load(), captions, batch, previews)
                with files.placed(path) as temporary:
                    save_file(made, temporary)
            parts.append(load_file(path))
            advance(len(batch))
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return replace(
        examples,
        negatives_u8=examples.negatives_u8 | {OWN: joined.pop(OWN)},
        owners=examples.owners | {OWN: np.array([job.row for job in jobs], np.int64)},
        previews_u8={int(step): pixels for step, pixels in sorted(joined.items(), key=lambda one: int(one[0]))},
    )


def _make(
    clip: Clip, generator: Generator[Any], captions: Sequence[str], jobs: Sequence[Job], previews: bool
) -> dict[str, torch.Tensor]:
    """Return uint8 [B, 3, h, w] of the finished images, `own`, and of the previews, by step."""
    distinct = list(dict.fromkeys(captions))
    encoded = generator.encode([infrared(caption) for caption in distinct])
    conditions = encoded.take([distinct.index(caption) for caption in captions])
    noises = [seeds.stream(job.seed).standard_normal(generator.latent_shape, np.float32) for job in jobs]
    latents, clean, made, at = torch.from_numpy(np.stack(noises)), None, {}, 0
    for step in (*(preview_steps(generator.steps) if previews else ()), generator.steps):
        latents, clean, shown = lookahead.advance(generator, latents, conditions, at, step, clean)
        at = step
        name = OWN if step == generator.steps else str(step)
        made[name] = squashed(clip, generator.decode(shown))
    if not torch.isfinite(latents).all():
        raise WeightsError(
            "verifier: an own sample of the adapted base is not finite", "Train the adapter again (`--from adapter`)."
        )
    return made
