"""Stage 06: search images for the prompts of the plan, shard by shard.

A shard is the unit of work and of loss: it is committed whole, and a killed run goes on with the shards that have no
commit record. Beside the kept images the output holds every candidate's scores and, for the report, the image that no
search would have given and the one with the lowest score of those that were finished. Where the search had cut the
former it is finished for the report's sake; what that costs stands apart from the search's NFE.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from irgen import guiding, images, progress, records, seeds, shards, store, weights
from irgen.captions import forms
from irgen.errors import StoreError
from irgen.settings import BaseSettings, CalibratedSearch, SamplesSettings
from irgen.shards import Sample, ShardedOutput
from irgen.shards.sample import key

if TYPE_CHECKING:
    from irgen.search import Candidate, Found, Generator, Prompt, Verifier

VERSION = 2
ATTEMPTS = 3
"""Tries at an image, each with fresh noises, before a tombstone stands for it."""

COLUMNS = pa.schema(
    [
        ("frame_id", pa.string()),
        ("prompt", pa.string()),
        ("score", pa.float64()),
        ("cos_infrared", pa.float64()),
        ("cos_grayscale", pa.float64()),
        ("unguided_score", pa.float64()),
        ("spread", pa.float64()),
        ("candidate", pa.int32()),
        ("nfe", pa.int32()),
        ("previews", pa.int32()),
        ("unguided_nfe", pa.int32()),
        ("attempt", pa.int32()),
    ]
)
"""Of the meta table, beside `shards.sample.META`; scores of a tombstone are NaN, as are a guide's without cosines.

`nfe` is the search's, `unguided_nfe` was spent on the first candidate after the search had cut it, and `previews` are
those that were decoded and scored on the way.
"""
CANDIDATES = pa.schema(
    [
        ("key", pa.string()),
        ("attempt", pa.int32()),
        ("candidate", pa.int32()),
        ("rank", pa.int32()),
        ("kept", pa.bool_()),
        ("step", pa.int32()),
        ("score", pa.float64()),
        ("preview", pa.float64()),
        ("cos_infrared", pa.float64()),
        ("cos_grayscale", pa.float64()),
        ("nfe", pa.int32()),
        ("dead", pa.string()),
        ("noise", pa.string()),
    ]
)
"""A row a candidate; rank 1 is the best of its attempt, 0 one that is dead or was cut.

`step` is how far it came. Only finished images have a `score`; `preview` is the last one on the way there.
"""
CONTRASTS = pa.schema([("key", pa.string()), ("kind", pa.string()), ("score", pa.float64()), ("png", pa.binary())])
"""Images to compare with: `unguided`, the first candidate, and `worst`, the finished one with the lowest score."""


@dataclass(frozen=True)
class Plan:
    """One image to make: what it shall show, and the frame whose caption that is."""

    prompt: Prompt
    frame_id: str


def externals(samples: SamplesSettings, base: BaseSettings) -> dict[str, str]:
    """Name the base's weights, and the guide's that lie on this machine."""
    return {"base": weights.identity_of(base), **guiding.externals(samples.guide)}


def run(
    samples: SamplesSettings, base: BaseSettings, captions: Path, verifier: Path, adapter: Path, out: Path
) -> dict[str, Any]:
    """Make the shards that are missing, then sum up.

    Args:
        samples: how many images, by which search.
        base: the diffusion model.
        captions: output of stage captions; prompts are drawn from its train split.
        verifier: output of stage verifier.
        adapter: output of stage adapter.
        out: folder to write.

    Raises:
        StoreError: no captions to draw from.
        SettingsError: a budget below one image, or a search that the base or the guide cannot follow.
        WeightsError: weights that are missing or do not fit.
    """
    wanted = plan(captions, samples)
    constants = {
        "algorithm": samples.search.algorithm,
        "steps": samples.steps,
        "guidance": samples.guidance,
        "width_px": base.width_px,
        "height_px": base.height_px,
        "base": weights.identity_of(base),
        "adapter": store.ref(adapter).content,
        "verifier": store.ref(verifier).content,
    }
    output = ShardedOutput.open(
        out,
        run={"samples": samples.model_dump(mode="json"), **constants},
        items=samples.images,
        per_shard=samples.images_per_shard,
        columns=COLUMNS,
        tables={"candidates": CANDIDATES, "contrasts": CONTRASTS},
    )
    if missing := output.missing():
        from irgen import generators

        generator = generators.load(base, samples.steps, samples.guidance, samples.batch_size, adapter)
        prompts = [each.prompt for each in wanted]
        judge = guiding.load(generator, prompts, samples, verifier, out)
        settled = samples.model_copy(update={"search": guiding.settle(generator, judge, prompts, samples, out)})
        with progress.bar("samples", sum(len(output.items(number)) for number in missing)) as advance:
            for number in output.pending():
                with output.shard(number) as shard:
                    for group in _groups(output.items(number), samples.prompts_at_once):
                        for sample in make(generator, judge, [wanted[index] for index in group], settled, constants):
                            shard.add(sample)
                        advance(len(group))
    return {**output.finish(), **summary(out)}


def plan(captions: Path, samples: SamplesSettings) -> list[Plan]:
    """Choose a prompt for each image: train captions in rounds, each round in its own seeded order.

    Raises:
        StoreError: there is no caption of the train split.
    """
    from irgen.search import Prompt

    rows = [row for row in records.read_rows(captions / "captions.parquet", records.Caption) if row.split == "train"]
    if not rows:
        raise StoreError(f"{captions}: no caption of the train split", "Give the source frames of its training sets.")
    chosen = []
    for start in range(0, samples.images, len(rows)):
        order = seeds.generator(samples.seed, start // len(rows), "plan").permutation(len(rows))
        for index in range(start, min(start + len(rows), samples.images)):
            row = rows[order[index - start]]
            chosen.append(Plan(Prompt(index, forms.infrared(row.caption), row.caption), row.frame_id))
    return chosen


def make(
    generator: Generator[Any],
    verifier: Verifier,
    wanted: Sequence[Plan],
    settings: SamplesSettings,
    constants: Mapping[str, Any],
) -> list[Sample]:
    """Search one image each for some prompts; where all candidates die, again with fresh noises.

    Args:
        generator: text and noise to image.
        verifier: image and caption to score.
        wanted: what to make.
        settings: search (a calibrated one settled), seed and image format.
        constants: what every score sheet says of the run.

    Returns:
        Samples or, after `ATTEMPTS`, tombstones, in the order of `wanted`.
    """
    from irgen.search import search

    assert not isinstance(settings.search, CalibratedSearch)
    tries: dict[int, list[Found]] = {each.prompt.index: [] for each in wanted}
    for attempt in range(ATTEMPTS):
        open_ones = [each.prompt for each in wanted if not _kept(tries[each.prompt.index])]
        if not open_ones:
            break
        for found in search(
            generator,
            verifier,
            open_ones,
            settings.search,
            seed=settings.seed,
            attempt=attempt,
            batch=settings.batch_size,
        ):
            tries[found.prompt.index].append(found)
    return [_sample(each, tries[each.prompt.index], settings, constants) for each in wanted]


def summary(folder: Path) -> dict[str, Any]:
    """Sum up a finished output: images, tombstones by reason, NFE and mean scores."""
    meta = shards.table(folder)
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


def _kept(tries: Sequence[Found]) -> Candidate | None:
    return tries[-1].kept if tries else None


def _sample(each: Plan, tries: Sequence[Found], settings: SamplesSettings, constants: Mapping[str, Any]) -> Sample:
    last, kept = tries[-1], _kept(tries)
    attempt = len(tries) - 1
    alive = last.alive()
    nan = float("nan")
    unguided = last.unguided
    measured = {
        "score": kept.score if kept else nan,
        "cos_infrared": kept.parts.get("cos_infrared", nan) if kept else nan,
        "cos_grayscale": kept.parts.get("cos_grayscale", nan) if kept else nan,
        "unguided_score": unguided.score if unguided else nan,
        "spread": alive[0].score - alive[-1].score if alive else nan,
    }
    row = {
        **measured,
        "frame_id": each.frame_id,
        "prompt": each.prompt.text,
        "candidate": kept.number if kept else -1,
        "nfe": sum(found.nfe for found in tries),
        "previews": sum(found.previews for found in tries),
        "unguided_nfe": unguided.nfe if unguided else 0,
        "attempt": attempt,
    }
    tables = {"candidates": _candidate_rows(tries), "contrasts": _contrast_rows(last) if kept else []}
    if kept is None:
        reasons = sorted({one.dead for one in last.candidates} - {""})
        reason = f"all candidates dead in {len(tries)} attempts: {', '.join(reasons)}"
        return Sample(each.prompt.index, b"", settings.image_format, {}, "", row, tables, reason)
    sheet = {
        **constants,
        **{name: value for name, value in row.items() if not name.startswith("cos_")},
        **kept.parts,
        # The sheet knows no NaN: where the first candidate is dead, the kept one is all there is to compare with.
        "unguided_score": unguided.score if unguided else kept.score,
        "key": key(each.prompt.index),
        "caption": each.prompt.caption,
        "candidates": len(last.candidates),
        "rank": 1,
        # In words: a list of perturbations, empty in most samples, has no type that readers could infer.
        "noise": json.dumps(kept.recipe.to_json(), sort_keys=True),
        "seed": str(settings.seed),
    }
    image = images.encode(last.images[kept.number], settings.image_format)
    return Sample(each.prompt.index, image, settings.image_format, sheet, each.prompt.caption, row, tables)


def _candidate_rows(tries: Sequence[Found]) -> list[dict[str, Any]]:
    rows = []
    for attempt, found in enumerate(tries):
        ranks = {one.number: rank for rank, one in enumerate(found.alive(), start=1)}
        for one in found.candidates:
            rows.append(
                {
                    "key": key(found.prompt.index),
                    "attempt": attempt,
                    "candidate": one.number,
                    "rank": ranks.get(one.number, 0),
                    "kept": ranks.get(one.number) == 1,
                    "step": one.step,
                    "score": one.score,
                    "preview": one.preview,
                    "cos_infrared": one.parts.get("cos_infrared", float("nan")),
                    "cos_grayscale": one.parts.get("cos_grayscale", float("nan")),
                    "nfe": one.nfe,
                    "dead": one.dead,
                    "noise": json.dumps(one.recipe.to_json(), sort_keys=True),
                }
            )
    return rows


def _contrast_rows(found: Found) -> list[dict[str, Any]]:
    chosen = {}
    if found.unguided:
        chosen["unguided"] = (found.unguided.score, found.unguided.image)
    if found.worst:
        chosen["worst"] = (found.worst.score, found.images[found.worst.number])
    return [
        {"key": key(found.prompt.index), "kind": kind, "score": score, "png": images.encode(image, "png")}
        for kind, (score, image) in chosen.items()
    ]


def _groups(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
