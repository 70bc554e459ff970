"""What there is to do under a manifest, stage by stage: the amounts that costs are proportional to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from irgen.settings import (
    MINIATURE,
    CalibratedSearch,
    EnsembleChoice,
    Manifest,
    SamplesSettings,
    ZeroOrderSearch,
    verifier_of,
)

Amount = Callable[[Manifest], float]

PARTS: Mapping[str, Amount] = {
    "adapter: encode": lambda m: captioned(m)["train"],
    "reading": lambda m: captioned(m)["train"],
    "realism": lambda m: captioned(m)["train"],
    "calibrating": lambda m: captioned(m)["val"],
    "own": lambda m: m.verifier.own_samples,
    # Distances between all pairs of images.
    "intervals": lambda m: m.report.bootstrap * m.report.images**2,
}
"""Beginnings of bars that do not grow with the stage's amount of work, and what they do grow with."""


@dataclass(frozen=True)
class Work:
    """What a stage's cost depends on.

    Attributes:
        amount: of work, in any unit: twice as much takes twice the time.
        files: to which the bytes it writes are proportional; None where they hardly change.
        like: settings that must be equal for a rate to hold.
    """

    amount: Amount
    files: Amount | None = None
    like: Callable[[Manifest], object] = lambda manifest: ()


def _scenes(manifest: Manifest) -> float:
    frames = manifest.frames
    return frames.scenes.train + frames.scenes.test if frames.source == MINIATURE else 1


def captioned(manifest: Manifest) -> dict[str, int]:
    """Return how many frames of each split are captioned; of a real source, at most."""
    captions, frames = manifest.captions, manifest.frames
    wanted = {"train": captions.train_frames, "val": captions.val_frames, "test": captions.test_frames}
    if frames.source != MINIATURE:
        return wanted
    held_out = max(1, round(frames.scenes.train * frames.val_fraction))
    drawn = {"train": frames.scenes.train - held_out, "val": held_out, "test": frames.scenes.test}
    return {split: min(count, drawn[split]) for split, count in wanted.items()}


def _captioned(manifest: Manifest) -> float:
    return sum(captioned(manifest).values())


def _negatives(manifest: Manifest) -> float:
    return _captioned(manifest) * len(manifest.negatives.kinds)


def _detecting(manifest: Manifest) -> object:
    return [one.model_dump(exclude={"steps", "batch_size", "seed"}) for one in manifest.teachers.detectors]


def _images(manifest: Manifest) -> float:
    return manifest.samples.images


def nfe(manifest: Manifest) -> float:
    """Return the evaluations of the network that stage samples makes, classifier-free guidance's second ones apart."""
    samples = manifest.samples
    return samples.images * _search_nfe(samples) + _before(samples)


def _search_nfe(samples: SamplesSettings) -> int:
    from irgen.search import nfe_per_image  # not at the top: it loads torch

    return nfe_per_image(samples.search, samples.steps)


def _before(samples: SamplesSettings) -> int:
    """Return the evaluations before the first image: previews to calibrate on, images for an ensemble to rank among."""
    search, guide = samples.search, samples.guide
    previews = search.prompts * search.noises if isinstance(search, CalibratedSearch) else 0
    ranked = guide.prompts * guide.candidates if isinstance(guide, EnsembleChoice) else 0
    tried = 0
    if isinstance(search, ZeroOrderSearch) and search.tries_cosines:
        from irgen.search.cosines import COSINES  # not at the top: it loads torch

        tried = len(COSINES) * search.prompts * _search_nfe(samples)
    return (previews + ranked) * samples.steps + tried


WORK = {
    "frames": Work(_scenes, _scenes, lambda m: (m.frames.source, m.frames.root, m.frames.annotations_only)),
    "captions": Work(_captioned, _captioned, lambda m: (m.captions.captioner, m.captions.vlm_model)),
    "negatives": Work(_negatives, _negatives),
    "teachers": Work(
        lambda m: sum(one.steps * one.batch_size for one in m.teachers.detectors),
        like=lambda m: (_detecting(m), m.labels.mode == "none"),
    ),
    "adapter": Work(
        lambda m: m.adapter.steps * m.adapter.batch_size * m.adapter.gradient_accumulation,
        like=lambda m: (m.base, m.adapter.train, m.adapter.target_modules, m.adapter.gradient_checkpointing),
    ),
    "verifier": Work(
        lambda m: m.verifier.steps * m.verifier.batch_size * len(m.verifier.seeds),
        like=lambda m: (m.verifier.model, m.verifier.precision, m.verifier.own_samples, m.verifier.previews),
    ),
    "samples": Work(
        nfe,
        _images,
        like=lambda m: (
            m.base,
            m.samples.batch_size,
            m.samples.guidance > 1,
            verifier_of(m.samples.guide),
            m.samples.start,
        ),
    ),
    "labels": Work(_images, _images, like=lambda m: m.labels.mode),
    "shards": Work(_images, _images),
    "report": Work(lambda m: m.report.images, like=lambda m: (m.report.feature_net, m.report.judges, m.report.budgets)),
}
