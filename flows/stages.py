"""One flow a stage.

Each is a deployment of its own, because in the UI only a deployment's run can be copied with edited parameters. The
parameters are the stage's settings, from which the UI draws a form, and its inputs: none means the latest sound output
of that dataset.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import Flow, flow

from irgen import pipeline, store
from irgen.errors import StoreError
from irgen.pipeline import Outcome
from irgen.settings import (
    AdapterSettings,
    BaseSettings,
    CaptionsSettings,
    FramesSettings,
    Manifest,
    NegativesSettings,
    ReportSettings,
    SamplesSettings,
    Settings,
    ShardsSettings,
    VerifierSettings,
)
from irgen.store import Ref
from tasks import stage

log = logging.getLogger("irgen.run")

DATA = os.environ.get("IRGEN_DATA", "data")
"""The data folder of runs that name none."""

DEFAULTS = Manifest(dataset="defaults", frames=FramesSettings(source="miniature"))

OPTIONS: dict[str, Any] = {"persist_result": True, "result_serializer": "json", "flow_run_name": "{dataset}"}
"""Persisted results let *Retry* of `build_dataset` re-do only the stages that failed."""


@flow(name="frames", **OPTIONS)
def frames(dataset: str, frames: FramesSettings, data: str = DATA, redo: bool = False) -> Outcome:
    """Read the raw data into frames.parquet, and what cannot be used into rejects.parquet."""
    return _make("frames", dataset, data, {"frames": frames}, {}, redo)


@flow(name="captions", **OPTIONS)
def captions(
    dataset: str,
    captions: CaptionsSettings = DEFAULTS.captions,
    frames: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Describe the frames."""
    return _make("captions", dataset, data, {"captions": captions}, {"frames": frames}, redo)


@flow(name="negatives", **OPTIONS)
def negatives(
    dataset: str,
    negatives: NegativesSettings = DEFAULTS.negatives,
    frames: Ref | None = None,
    captions: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Make the images that are not infrared though they might pass for it."""
    inputs = {"frames": frames, "captions": captions}
    return _make("negatives", dataset, data, {"negatives": negatives}, inputs, redo)


@flow(name="adapter", **OPTIONS)
def adapter(
    dataset: str,
    adapter: AdapterSettings = DEFAULTS.adapter,
    base: BaseSettings = DEFAULTS.base,
    frames: Ref | None = None,
    captions: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Train the LoRA that turns the base model to infrared."""
    inputs = {"frames": frames, "captions": captions}
    return _make("adapter", dataset, data, {"adapter": adapter, "base": base}, inputs, redo)


@flow(name="verifier", **OPTIONS)
def verifier(
    dataset: str,
    verifier: VerifierSettings = DEFAULTS.verifier,
    base: BaseSettings = DEFAULTS.base,
    frames: Ref | None = None,
    captions: Ref | None = None,
    negatives: Ref | None = None,
    adapter: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Finetune the CLIP model that tells infrared from what is not, and calibrate it on held-out frames."""
    inputs = {"frames": frames, "captions": captions, "negatives": negatives, "adapter": adapter}
    return _make("verifier", dataset, data, {"verifier": verifier, "base": base}, inputs, redo)


@flow(name="samples", **OPTIONS)
def samples(
    dataset: str,
    samples: SamplesSettings = DEFAULTS.samples,
    base: BaseSettings = DEFAULTS.base,
    captions: Ref | None = None,
    verifier: Ref | None = None,
    adapter: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Search over noises and keep the images that the verifier believes."""
    inputs = {"captions": captions, "verifier": verifier, "adapter": adapter}
    return _make("samples", dataset, data, {"samples": samples, "base": base}, inputs, redo)


@flow(name="shards", **OPTIONS)
def shards(
    dataset: str,
    shards: ShardsSettings = DEFAULTS.shards,
    frames: Ref | None = None,
    captions: Ref | None = None,
    samples: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Write the finished dataset: WebDataset shards, an index, a card."""
    inputs = {"frames": frames, "captions": captions, "samples": samples}
    return _make("shards", dataset, data, {"shards": shards}, inputs, redo)


@flow(name="report", **OPTIONS)
def report(
    dataset: str,
    report: ReportSettings = DEFAULTS.report,
    frames: Ref | None = None,
    captions: Ref | None = None,
    negatives: Ref | None = None,
    verifier: Ref | None = None,
    samples: Ref | None = None,
    shards: Ref | None = None,
    data: str = DATA,
    redo: bool = False,
) -> Outcome:
    """Judge the dataset: distances with their floor and baselines, scores, pictures, costs."""
    inputs = {"frames": frames, "captions": captions, "negatives": negatives, "verifier": verifier}
    inputs |= {"samples": samples, "shards": shards}
    return _make("report", dataset, data, {"report": report}, inputs, redo)


FLOWS: Mapping[str, Flow[..., Outcome]] = {
    each.name: each for each in (frames, captions, negatives, adapter, verifier, samples, shards, report)
}


def _make(
    name: str,
    dataset: str,
    data: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref | None],
    redo: bool,
) -> Outcome:
    reads = pipeline.stage_named(name).reads(sections)
    refs = {key: ref or _latest(name, key, dataset, data) for key, ref in inputs.items() if key in reads}
    return stage.make(name, data, dataset, sections, refs, redo)


def _latest(name: str, wanted: str, dataset: str, data: str) -> Ref:
    """Return the newest sound output of the stage `wanted`, for the stage `name` to read."""
    folder = pipeline.dataset_root(Path(data), dataset) / pipeline.stage_named(wanted).folder_name
    ref = store.latest(folder)
    if ref is None:
        raise StoreError(f"{folder}: holds no finished output for {name} to read", f"Run {wanted} of {dataset} first.")
    log.info("%s: reads the latest %s: %s", name, wanted, ref.path)
    return ref
