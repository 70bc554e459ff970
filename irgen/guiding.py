"""What a search needs before its first image: who judges, and by which schedule.

Both may have to be measured on the real generator first. What was measured is kept in the samples' output, so that a
resumed run goes on by it: `references.json`, among what an ensemble ranks, and `policy.json`, a calibrated schedule or
cosine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np

from irgen import digests, files
from irgen.errors import SettingsError, StoreError
from irgen.settings import (
    CalibratedSearch,
    EnsembleChoice,
    ExtensionChoice,
    HalvingSearch,
    RandomSearch,
    SamplesSettings,
    Search,
    SettledSearch,
    VerifierChoice,
    ZeroOrderSearch,
)

if TYPE_CHECKING:
    from irgen.metrics.frechet import F64
    from irgen.search import Generator, Prompt, Verifier
    from irgen.verifiers.ensemble import Voice

T = TypeVar("T")

WEIGHT_FIELDS = frozenset({"model", "pretrained", "head", "weights", "tokenizer", "processor", "detector"})
"""Settings of verifiers that may name a file or folder."""

log = logging.getLogger(__name__)

REFERENCES, POLICY = "references.json", "policy.json"

FEWEST_PROMPTS = 2
"""With fewer prompts that have a live image nothing is told of previews, and the search is best of N."""


def externals(guide: VerifierChoice) -> dict[str, str]:
    """Name the content of what lies on this machine of a guide's weights; the settings name hub ids."""
    if isinstance(guide, EnsembleChoice):
        return {name: content for member in guide.members for name, content in externals(member.verifier).items()}
    if isinstance(guide, ExtensionChoice):
        code = {f"guide.{guide.extension}": guide.identity}
        return code | _weights(guide.extension, guide.options.items())
    return _weights(guide.name, guide)


def _weights(name: str, fields: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Digest the files and folders that a verifier's settings name."""
    named = {
        field: Path(str(value).removeprefix("local-dir:")).expanduser()
        for field, value in fields
        if field in WEIGHT_FIELDS and value
    }
    return {f"{name}.{field}": digests.digest(path) for field, path in named.items() if path.exists()}


def prompts_measured(samples: SamplesSettings) -> int:
    """Return how many of a dataset's first prompts `load` and `settle` may measure on."""
    ranked = samples.guide.prompts if isinstance(samples.guide, EnsembleChoice) else 0
    return max(ranked, samples.search.prompts if is_calibrated(samples.search) else 0)


def is_calibrated(search: Search) -> TypeGuard[CalibratedSearch | ZeroOrderSearch]:
    """Whether something of a search is to be measured before the first image."""
    return isinstance(search, CalibratedSearch) or (isinstance(search, ZeroOrderSearch) and search.tries_cosines)


def load(
    generator: Generator[Any],
    prompts: Sequence[Prompt],
    samples: SamplesSettings,
    trained: Path,
    out: Path,
    teachers: Path | None = None,
) -> Verifier:
    """Load the guide; an ensemble's members first rank unguided images.

    Args:
        generator: makes those images.
        prompts: of the dataset; an ensemble takes the first ones.
        samples: guide, seed and batch size.
        trained: output of stage verifier.
        out: the samples' output.
        teachers: output of stage teachers, where the guide counts what they find.

    Raises:
        WeightsError: weights that are missing or do not fit.
        IrgenError: a member that cannot tell candidates apart; see `irgen.verifiers.registry.load`.
        StoreError: references that were changed.
    """
    from irgen.verifiers import ensemble, registry

    def measure(voices: Sequence[Voice]) -> Mapping[str, F64]:
        from irgen.search.previews import unguided_images

        path = out / REFERENCES
        if not path.exists():
            assert isinstance(samples.guide, EnsembleChoice)
            chosen = prompts[: samples.guide.prompts]
            log.info("making %d unguided images for the ensemble's ranks", len(chosen) * samples.guide.candidates)
            images = unguided_images(
                generator, chosen, samples.guide.candidates, seed=samples.seed, batch=samples.batch_size
            )
            ensemble.save(ensemble.measure(voices, images, [prompt.caption for prompt in chosen]), path)
        return ensemble.load(path)

    return registry.load(samples.guide, trained, measure, teachers)


def settle(
    generator: Generator[Any], verifier: Verifier, prompts: Sequence[Prompt], samples: SamplesSettings, out: Path
) -> SettledSearch:
    """Return the search, a calibrated one with the schedule or the cosine that its measurements call for.

    Args:
        generator: makes the previews.
        verifier: scores them.
        prompts: of the dataset; calibration takes the first ones.
        samples: search, seed and batch size.
        out: the samples' output; `policy.json` says what was chosen, and why.

    Raises:
        SettingsError: a budget below one image; says the least that is needed.
        StoreError: a policy that was changed.
    """
    asked = samples.search
    if isinstance(asked, ZeroOrderSearch):
        return _with_cosine(generator, verifier, prompts, samples, asked, out) if asked.tries_cosines else asked
    if not isinstance(asked, CalibratedSearch):
        return asked
    least = generator.steps * generator.nfe_per_forward
    if asked.nfe < least:
        raise SettingsError(
            f"samples.search.nfe = {asked.nfe} is less than one image needs",
            f"Raise it to {least} at least: {generator.steps} steps x {generator.nfe_per_forward} NFE a forward.",
        )
    schedule = _kept(
        out / POLICY,
        lambda: _calibrated(generator, verifier, prompts, samples, asked),
        lambda document: [(int(count), int(until)) for count, until in document["schedule"]],
    )
    return RandomSearch(candidates=schedule[0][0]) if len(schedule) == 1 else HalvingSearch(schedule=tuple(schedule))


def _kept(path: Path, measure: Callable[[], dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> T:
    """Return what was measured once and for all."""
    if not path.exists():
        files.write_bytes(path, files.sealed(measure()))
    try:
        return read(files.read_sealed(path))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error})", "Remove it, and run the stage again.") from error


def _with_cosine(
    generator: Generator[Any],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    samples: SamplesSettings,
    asked: ZeroOrderSearch,
    out: Path,
) -> ZeroOrderSearch:
    from irgen.search import cosines

    def tried() -> dict[str, Any]:
        chosen, before = prompts[: asked.prompts], generator.nfe
        log.info("calibrating: %d zero-order searches for each of %d prompts", len(cosines.COSINES), len(chosen))
        scores = cosines.try_cosines(generator, verifier, chosen, asked, seed=samples.seed, batch=samples.batch_size)
        alive = scores[:, np.isfinite(scores).all(axis=0)]
        means = alive.mean(axis=1).tolist() if alive.size else []
        return {
            "prompts": alive.shape[1],
            "calibration_nfe": generator.nfe - before,
            "scores": [{"cosine": cosine, "score": mean} for cosine, mean in zip(cosines.COSINES, means, strict=False)],
            "cosine": cosines.choose(scores),
        }

    cosine = _kept(out / POLICY, tried, lambda document: float(document["cosine"]))
    log.info("zero-order search looks at a cosine of %g", cosine)
    return asked.model_copy(update={"cosine": cosine})


def _calibrated(
    generator: Generator[Any],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    samples: SamplesSettings,
    asked: CalibratedSearch,
) -> dict[str, Any]:
    from irgen.search.policy import calibrate
    from irgen.search.previews import preview_rewards

    chosen = prompts[: asked.prompts]
    log.info("calibrating: previews of %d prompts x %d noises at every step", len(chosen), asked.noises)
    rewards = preview_rewards(generator, verifier, chosen, asked.noises, seed=samples.seed, batch=samples.batch_size)
    forwards = asked.nfe // generator.nfe_per_forward
    usable = rewards[np.isfinite(rewards[:, :, -1]).any(axis=1)]
    schedule = [(forwards // generator.steps, generator.steps)]
    if len(usable) >= FEWEST_PROMPTS:
        schedule = list(calibrate(usable, forwards, generator.steps))
    log.info("calibrated: %s", ", then ".join(f"{count} to step {until}" for count, until in schedule))
    return {
        "nfe": asked.nfe,
        "prompts": len(usable),
        "noises": asked.noises,
        "steps": generator.steps,
        "calibration_nfe": rewards.size * generator.nfe_per_forward,
        "best_of_n": len(schedule) == 1,
        "schedule": [[int(count), int(until)] for count, until in schedule],
    }
