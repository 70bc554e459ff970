"""Stage 06: search images for the prompts of the plan, shard by shard.

A shard is the unit of work and of loss: it is committed whole, and a killed run goes on with the shards that have no
commit record. Beside the kept images the output holds every candidate's scores and, for the report, the image that no
search would have given and the one with the lowest score of those that were finished. Where the search had cut the
former it is finished for the report's sake; what that costs stands apart from the search's NFE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen import choosing, guiding, progress, recording, shards, store, weights
from irgen.planning import plan
from irgen.recording import CANDIDATES, COLUMNS, CONTRASTS, Plan
from irgen.settings import (
    BaseSettings,
    CalibratedSearch,
    ExtensionSearch,
    SamplesSettings,
    algorithm_of,
    verifier_of,
)
from irgen.shards import Sample, ShardedOutput
from irgen.starting import Starts

if TYPE_CHECKING:
    from irgen.choosing import Choice
    from irgen.search import Found, Generator, Verifier

VERSION = 5
ATTEMPTS = 3
"""Tries at an image, each with fresh noises, before a tombstone stands for it."""
SUMMED = ("status", "reason", "nfe", "previews", "unguided_nfe", "score", "unguided_score", "spread")


def externals(samples: SamplesSettings, base: BaseSettings) -> dict[str, str]:
    """Name the base's weights, the guide's that lie on this machine, and the code of what other packages bring."""
    return {
        "base": weights.identity_of(base),
        **guiding.externals(samples.guide),
        **choosing.identity(samples.selection),
        **({"search": samples.search.identity} if isinstance(samples.search, ExtensionSearch) else {}),
    }


def run(
    samples: SamplesSettings,
    base: BaseSettings,
    captions: Path,
    verifier: Path,
    adapter: Path,
    out: Path,
    frames: Path | None = None,
    teachers: Path | None = None,
) -> dict[str, Any]:
    """Make the shards that are missing, then sum up.

    Args:
        samples: how many images, by which search.
        base: the diffusion model.
        captions: output of stage captions; prompts are drawn from its train split.
        verifier: output of stage verifier.
        adapter: output of stage adapter.
        out: folder to write.
        frames: output of stage frames, where images start from some or are selected to look like them.
        teachers: output of stage teachers, where the guide counts what they find.

    Raises:
        StoreError: no captions to draw from.
        SettingsError: a budget below one image, or a search that the base or the guide cannot follow.
        WeightsError: weights that are missing or do not fit.
    """
    output = make_shards(samples, base, captions, verifier, adapter, out, frames, teachers)
    return {**output.finish(), **summary(out)}


def make_shards(
    samples: SamplesSettings,
    base: BaseSettings,
    captions: Path,
    verifier: Path,
    adapter: Path,
    out: Path,
    frames: Path | None = None,
    teachers: Path | None = None,
    *,
    bar: progress.Bar = progress.bar,
    committed: Callable[[int], None] = lambda number: None,
    exchange: str = "",
) -> ShardedOutput:
    """Make the shards that are missing and that no other process is at; several may do so side by side.

    Args:
        samples: as the other paths and settings, see `run`.
        base: the diffusion model.
        captions: output of stage captions.
        verifier: output of stage verifier.
        adapter: output of stage adapter.
        out: folder to write.
        frames: output of stage frames, where images start from some or are selected to look like them.
        teachers: output of stage teachers, where the guide counts what they find.
        bar: shows how many of the missing images are made.
        committed: called with each shard's number.
        exchange: address on object storage where the shards go, if not into `out`.

    Returns:
        The output; not finished yet.
    """
    starts = Starts(samples.start, samples.seed, frames) if frames and samples.start.used else None
    wanted = plan(captions, samples, starts)
    constants = _constants(samples, base, verifier, adapter, frames)
    output = shards.begin(
        out,
        exchange,
        run={"samples": samples.model_dump(mode="json"), **constants},
        items=samples.images,
        per_shard=samples.images_per_shard,
        columns=COLUMNS,
        tables={"candidates": CANDIDATES, "contrasts": CONTRASTS},
    )
    if missing := output.missing():
        from irgen import devices, generators

        generator = generators.load(base, samples.steps, samples.guidance, samples.batch_size, adapter)
        prompts = [each.prompt for each in wanted[: guiding.prompts_measured(samples)]]

        def settled() -> tuple[Verifier, SamplesSettings, Choice | None]:
            judge = guiding.load(generator, prompts, samples, verifier, out, teachers)
            search = guiding.settle(generator, judge, prompts, samples, out)
            choice = choosing.load(samples.selection, frames, out) if frames and samples.selection.net else None
            return judge, samples.model_copy(update={"search": search}), choice

        with devices.one_thread():
            judge, settings, choice = output.measured(settled)
            with bar("samples", sum(len(output.items(number)) for number in missing)) as advance:
                for number in output.pending():
                    chosen = [wanted[index] for index in output.items(number)]
                    with output.shard(number) as shard:
                        for sample in make(generator, judge, chosen, settings, constants, starts, choice, advance):
                            shard.add(sample)
                    committed(number)
    return output


def _constants(
    samples: SamplesSettings, base: BaseSettings, verifier: Path, adapter: Path, frames: Path | None
) -> dict[str, Any]:
    """Return what every score sheet says of the run."""
    return {
        "algorithm": algorithm_of(samples.search),
        "guide": verifier_of(samples.guide),
        "selection": samples.selection.net,
        "steps": samples.steps,
        "guidance": samples.guidance,
        "width_px": base.width_px,
        "height_px": base.height_px,
        "base": weights.identity_of(base),
        "adapter": store.ref(adapter).content,
        "verifier": store.ref(verifier).content,
        "frames": store.ref(frames).content if frames else "",
    }


def make(
    generator: Generator[Any],
    verifier: Verifier,
    wanted: Sequence[Plan],
    settings: SamplesSettings,
    constants: Mapping[str, Any],
    starts: Starts | None = None,
    choice: Choice | None = None,
    advance: progress.Advance = lambda count: None,
) -> Iterator[Sample]:
    """Search one image for each prompt of a shard.

    Args:
        generator: text and noise to image.
        verifier: image and caption to score.
        wanted: what to make.
        settings: search (a calibrated one settled), seed and image format.
        constants: what every score sheet says of the run.
        starts: what images start from, where some do not start from noise.
        choice: keeps what together looks most real, in place of each prompt's best; all finished images of `wanted`
            are then in memory.
        advance: called with how many prompts were searched.

    Yields:
        Samples or, after `ATTEMPTS`, tombstones, in the order of `wanted`.
    """

    def searched() -> Iterator[tuple[Plan, list[Found]]]:
        for group in _groups(wanted, settings.prompts_at_once):
            yield from zip(group, _find(generator, verifier, group, settings, starts, choice is not None), strict=True)
            advance(len(group))

    pairs: Iterable[tuple[Plan, list[Found]]] = searched()
    if choice:
        pairs = list(pairs)
        choice.choose([tries[-1] for _, tries in pairs])
    for each, tries in pairs:
        yield recording.sample(each, tries, settings.image_format, {**constants, "seed": str(settings.seed)})


def _find(
    generator: Generator[Any],
    verifier: Verifier,
    wanted: Sequence[Plan],
    settings: SamplesSettings,
    starts: Starts | None,
    all_images: bool,
) -> list[list[Found]]:
    """Return all attempts for each prompt; where all candidates die, there is another with fresh noises."""
    from irgen.search import search

    assert not isinstance(settings.search, CalibratedSearch)
    tries: dict[int, list[Found]] = {each.prompt.index: [] for each in wanted}
    for attempt in range(ATTEMPTS):
        open_ones = [each for each in wanted if not recording.kept_of(tries[each.prompt.index])]
        for part in _by_mode(open_ones):
            begun = starts.generator(generator, [each.start for each in part]) if starts else generator
            for found in search(
                begun,
                verifier,
                [each.prompt for each in part],
                settings.search,
                seed=settings.seed,
                attempt=attempt,
                batch=settings.batch_size,
                all_images=all_images,
            ):
                tries[found.prompt.index].append(found)
    return [tries[each.prompt.index] for each in wanted]


def summary(folder: Path) -> dict[str, Any]:
    """Sum up a finished output: images, tombstones by reason, NFE and mean scores."""
    meta = shards.table(folder, columns=SUMMED)
    kept = meta[meta["status"] == "ok"]
    failed = meta.loc[meta["status"] != "ok", "reason"].value_counts()
    return {
        "images": len(kept),
        "failed": {str(reason): int(count) for reason, count in sorted(failed.items())},
        "nfe_per_image": float(meta["nfe"].mean()),
        "previews_per_image": float(meta["previews"].mean()),
        "unguided_nfe_per_image": float(meta["unguided_nfe"].mean()),
        "score": float(kept["score"].mean()) if len(kept) else 0.0,
        "unguided_score": float(kept["unguided_score"].mean()) if len(kept) else 0.0,
        "spread": float(kept["spread"].mean()) if len(kept) else 0.0,
    }


def _by_mode(wanted: Sequence[Plan]) -> list[list[Plan]]:
    """Part images by what they start from: those that start alike have their steps in common."""
    modes = dict.fromkeys(each.start.mode for each in wanted)
    return [[each for each in wanted if each.start.mode == mode] for mode in modes]


def _groups(items: Sequence[Plan], size: int) -> Iterator[Sequence[Plan]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
