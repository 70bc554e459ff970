"""A rehearsal: what a run has still to make, made by the same code and settings, but a twentieth of it.

What it took says what the run will take (`irgen.costs`). That is kept, by machine and by what was rehearsed: manifests
that differ in no more than, say, the number of images share it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from irgen import digests, files, machine, pipeline
from irgen.amounts import captioned
from irgen.costs import Measured, read
from irgen.pipeline import PlanLine, Stage
from irgen.settings import (
    MINIATURE,
    CalibratedSearch,
    EnsembleChoice,
    Manifest,
    RandomSearch,
    SamplesSettings,
    VerifierBar,
    ZeroOrderSearch,
)
from irgen.store import FINGERPRINT_DIGITS, Ref

log = logging.getLogger(__name__)

SHARE = 1 / 20
GROUPS = 3
"""Groups of prompts that are searched; the first warms up."""
PICTURES, PICTURE_STEPS = 128, 2
"""Images for the stages after samples, which care for their number alone, and denoising steps of each."""
JUDGED = 64
"""Of these the report takes so many, two of its batches, in the mix of day and night that real frames have."""
OWN_SAMPLES, LEAST_RESAMPLINGS = 64, 6
LEAST_STEPS, LEAST_FRAMES, LEAST_SCENES = 12, 8, 40
"""With fewer scenes no video may be held out, or nobody is on any frame."""
MODELS = ("teachers", "adapter", "verifier")
"""Stages whose finished outputs are as good as rehearsed ones: who reads them does not work the longer for it."""
SOURCE = "rehearsal"


def rehearse(manifest: Manifest, data: Path, lines: Iterable[PlanLine]) -> dict[str, Measured]:
    """Make the stages small, in a folder of their own that is gone afterwards; nothing is written to the data folder.

    Real frames are read in full, unless they were before.

    Args:
        manifest: what to build.
        data: the data folder.
        lines: what the run would do.

    Returns:
        What stages took, by name.

    Raises:
        IrgenError: whatever a stage raises.
    """
    small = reduced(manifest)
    taken = MODELS if manifest.frames.source == MINIATURE else ("frames", *MODELS)
    refs = {line.stage: line.ref for line in lines if line.ref and line.stage in taken}
    found = {}
    with tempfile.TemporaryDirectory(prefix="irgen-rehearsal-") as folder:
        for stage in pipeline.STAGES:
            if stage.name in refs:
                continue
            log.info("rehearsing %s", stage.name)
            refs[stage.name] = ref = _make(stage, Path(folder), small, refs)
            if known := read(stage, ref.folder, small):
                found[stage.name] = replace(known, source=SOURCE)
            if stage.name == "samples":
                small = small.model_copy(update={"samples": _pictures(small.samples)})
                refs["samples"] = _make(stage, Path(folder), small, refs)
    found = {**kept(manifest), **found}
    _keep(manifest, found)
    return found


def _make(stage: Stage, root: Path, small: Manifest, refs: Mapping[str, Ref]) -> Ref:
    sections = {name: getattr(small, name) for name in stage.sections}
    return pipeline.run_stage(stage, root, sections, {name: refs[name] for name in stage.reads(sections)}).ref


def reduced(manifest: Manifest) -> Manifest:
    """Return a manifest of little work that takes, piece by piece, as long as the given one's."""
    document = manifest.model_dump()
    captions, verifier, adapter = captioned(manifest), manifest.verifier, manifest.adapter
    if manifest.frames.source == MINIATURE:
        scenes = manifest.frames.scenes
        document["frames"]["scenes"] |= {
            "train": _few(scenes.train, LEAST_SCENES),
            "test": _few(scenes.test, PICTURES),
        }
    held_out = _few(captions["val"], LEAST_FRAMES)
    document["captions"] |= {
        "train_frames": _few(captions["train"], max(verifier.batch_size, adapter.batch_size)),
        "val_frames": held_out,
        "test_frames": _few(captions["test"], PICTURES),
    }
    document["verifier"] |= {
        "steps": _few(verifier.steps, LEAST_STEPS),
        # So much oftener that as many frames are judged a step.
        "validate_every": math.ceil(verifier.validate_every * held_out / captions["val"]),
        "own_samples": _few(verifier.own_samples, OWN_SAMPLES),
        "bar": dict.fromkeys(VerifierBar.model_fields, 0.0),
    }
    document["adapter"] |= {"steps": _few(adapter.steps, LEAST_STEPS)}
    for one in document["teachers"]["detectors"]:
        one["steps"] = _few(one["steps"], LEAST_STEPS)
    for split in ("train_frames", "val_frames"):
        document["teachers"][split] = _few(document["teachers"][split], LEAST_FRAMES)
    document["samples"] = _searched(manifest.samples)
    document["report"] |= {
        "images": min(manifest.report.images, JUDGED),
        "bootstrap": _few(manifest.report.bootstrap, LEAST_RESAMPLINGS),
        "budgets": (),
    }
    return Manifest.model_validate(document)


def _few(count: int, least: int) -> int:
    """Return the share of a count, but some at least, and no more than there are."""
    return min(count, max(least, math.ceil(count * SHARE)))


def _searched(samples: SamplesSettings) -> dict[str, Any]:
    """Return samples of a few groups of prompts, each searched as in the whole dataset."""
    document = samples.model_dump()
    if isinstance(samples.search, CalibratedSearch):
        # Which schedule will be chosen is not known; it spends what best of N does.
        candidates = max(1, samples.search.nfe // samples.steps)
        document["search"] = {"algorithm": "random", "candidates": candidates}
    if isinstance(samples.search, ZeroOrderSearch) and samples.search.tries_cosines:
        # Any cosine takes as long.
        document["search"] |= {"cosine": 0}
    if isinstance(samples.guide, EnsembleChoice):
        document["guide"] |= {"prompts": 2, "candidates": 2}
    # So few captions may not give the wanted mix.
    return {**document, "images": GROUPS * samples.prompts_at_once, "mix": {}}


def _pictures(small: SamplesSettings) -> SamplesSettings:
    """Return samples that are quickly made."""
    return SamplesSettings(
        images=PICTURES,
        steps=PICTURE_STEPS,
        guidance=small.guidance,
        search=RandomSearch(candidates=1),
        batch_size=small.batch_size,
        prompts_at_once=small.batch_size,
        images_per_shard=PICTURES // 2,
        image_format=small.image_format,
    )


def kept(manifest: Manifest) -> dict[str, Measured]:
    """Return what an earlier rehearsal of this took on this machine, by stage; empty where there was none."""
    path = _path(manifest)
    try:
        stages = files.read_sealed(path)["stages"]
        return {
            name: Measured(Manifest.model_validate(row["manifest"]), row["cost"], row["bytes"], SOURCE)
            for name, row in stages.items()
            if row["version"] == pipeline.stage_named(name).module().VERSION
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError) as error:
        log.warning("%s: damaged (%s); `--calibrate` makes it anew", path, error)
        return {}


def _keep(manifest: Manifest, found: Mapping[str, Measured]) -> None:
    rows = {
        name: {
            "manifest": one.manifest.model_dump(mode="json"),
            "version": pipeline.stage_named(name).module().VERSION,
            "cost": one.cost,
            "bytes": one.bytes,
        }
        for name, one in found.items()
    }
    files.make_folder(_path(manifest).parent)
    files.write_bytes(_path(manifest), files.sealed({"stages": rows}))


def _path(manifest: Manifest) -> Path:
    """Name what is rehearsed: all settings but the dataset's name, and the machine."""
    identity = {
        "manifest": reduced(manifest).model_dump(mode="json", exclude={"dataset"}),
        **machine.here(),
    }
    name = hashlib.sha256(files.canonical_json(identity)).hexdigest()[:FINGERPRINT_DIGITS]
    return digests.memo_path().parent / "rehearsals" / f"{name}.json"
