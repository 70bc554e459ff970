"""One flow a stage.

Each is a deployment of its own, because in the UI only a deployment's run can be copied with edited parameters. The
parameters are the stage's settings, from which the UI draws a form, and its inputs: none means the latest sound output
of that dataset, and the run's log says which that was.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from prefect import Flow, flow
from pydantic import Field

from irgen import executors, pipeline, store
from irgen.errors import StoreError
from irgen.pipeline import Outcome
from irgen.settings import (
    AdapterSettings,
    BaseSettings,
    CaptionsSettings,
    FramesSettings,
    LabelsSettings,
    Manifest,
    NegativesSettings,
    ReportSettings,
    SamplesSettings,
    Settings,
    ShardsSettings,
    TeachersSettings,
    VerifierSettings,
)
from irgen.store import Ref
from tasks import stage

log = logging.getLogger("irgen.run")

DATASET_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"

DATA = os.environ.get("IRGEN_DATA", "data")
"""The data folder of runs that name none."""

DEFAULTS = Manifest(dataset="defaults", frames=FramesSettings(source="miniature"))


def _shown(description: str, **limits: Any) -> Any:
    """Describe a parameter in the form. Prefect overwrites a field's own description with the docstring's, or none."""
    return Field(json_schema_extra={"description": description}, **limits)


Dataset = Annotated[str, _shown("Name of the dataset: its folder under the data folder.", pattern=DATASET_PATTERN)]
Data = Annotated[str, _shown("Folder that holds all datasets, as the worker sees it.")]
Redo = Annotated[bool, _shown("Make it anew even if it is there.")]
Lanes = Annotated[int, _shown("Processes side by side, a GPU or else a core each; 0: one a GPU.", ge=0, le=1024)]
Executor = Annotated[
    executors.Executor,
    _shown("Where they run; ray: on the cluster of RAY_ADDRESS, else a Ray of this machine's."),
]
Ranks = Annotated[
    int, _shown("Processes of this machine that train together, a GPU each or a share of the cores.", ge=1, le=1024)
]
Input = Annotated[Ref | None, _shown("Output to read; none: the latest sound one of this dataset.")]

OPTIONS: dict[str, Any] = {"persist_result": True, "result_serializer": "json", "flow_run_name": "{dataset}"}
"""Persisted results let *Retry* of `build_dataset` re-do only the stages that failed."""


@flow(name="frames", **OPTIONS)
def frames(dataset: Dataset, frames: FramesSettings, data: Data = DATA, redo: Redo = False) -> Outcome:
    """Read the raw data into frames.parquet, and what cannot be used into rejects.parquet."""
    return _make("frames", dataset, data, {"frames": frames}, {}, redo)


@flow(name="captions", **OPTIONS)
def captions(
    dataset: Dataset,
    captions: CaptionsSettings = DEFAULTS.captions,
    frames: Input = None,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Describe the frames."""
    return _make("captions", dataset, data, {"captions": captions}, {"frames": frames}, redo)


@flow(name="negatives", **OPTIONS)
def negatives(
    dataset: Dataset,
    negatives: NegativesSettings = DEFAULTS.negatives,
    frames: Input = None,
    captions: Input = None,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Make the images that are not infrared though they might pass for it."""
    inputs = {"frames": frames, "captions": captions}
    return _make("negatives", dataset, data, {"negatives": negatives}, inputs, redo)


@flow(name="teachers", **OPTIONS)
def teachers(
    dataset: Dataset,
    teachers: TeachersSettings = DEFAULTS.teachers,
    labels: LabelsSettings = DEFAULTS.labels,
    frames: Input = None,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Train the two detectors that label generated images on real frames."""
    return _make("teachers", dataset, data, {"teachers": teachers, "labels": labels}, {"frames": frames}, redo)


@flow(name="adapter", **OPTIONS)
def adapter(
    dataset: Dataset,
    adapter: AdapterSettings = DEFAULTS.adapter,
    base: BaseSettings = DEFAULTS.base,
    frames: Input = None,
    captions: Input = None,
    ranks: Ranks = 1,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Train the LoRA that turns the base model to infrared."""
    inputs = {"frames": frames, "captions": captions}
    return _make("adapter", dataset, data, {"adapter": adapter, "base": base}, inputs, redo, ranks=ranks)


@flow(name="verifier", **OPTIONS)
def verifier(
    dataset: Dataset,
    verifier: VerifierSettings = DEFAULTS.verifier,
    base: BaseSettings = DEFAULTS.base,
    frames: Input = None,
    captions: Input = None,
    negatives: Input = None,
    adapter: Input = None,
    ranks: Ranks = 1,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Finetune the CLIP model that tells infrared from what is not, and calibrate it on held-out frames."""
    inputs = {"frames": frames, "captions": captions, "negatives": negatives, "adapter": adapter}
    return _make("verifier", dataset, data, {"verifier": verifier, "base": base}, inputs, redo, ranks=ranks)


@flow(name="samples", **OPTIONS)
def samples(
    dataset: Dataset,
    samples: SamplesSettings = DEFAULTS.samples,
    base: BaseSettings = DEFAULTS.base,
    frames: Input = None,
    captions: Input = None,
    teachers: Input = None,
    verifier: Input = None,
    adapter: Input = None,
    lanes: Lanes = 0,
    executor: Executor = "local",
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Search over noises and keep the images that the verifier believes."""
    inputs = {"frames": frames, "captions": captions, "teachers": teachers, "verifier": verifier, "adapter": adapter}
    return _make("samples", dataset, data, {"samples": samples, "base": base}, inputs, redo, lanes, executor)


@flow(name="labels", **OPTIONS)
def labels(
    dataset: Dataset,
    labels: LabelsSettings = DEFAULTS.labels,
    teachers: Input = None,
    samples: Input = None,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Find the boxes of the generated images."""
    inputs = {"teachers": teachers, "samples": samples}
    return _make("labels", dataset, data, {"labels": labels}, inputs, redo)


@flow(name="shards", **OPTIONS)
def shards(
    dataset: Dataset,
    shards: ShardsSettings = DEFAULTS.shards,
    frames: Input = None,
    captions: Input = None,
    samples: Input = None,
    labels: Input = None,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Write the finished dataset: WebDataset shards, an index, a card."""
    inputs = {"frames": frames, "captions": captions, "samples": samples, "labels": labels}
    return _make("shards", dataset, data, {"shards": shards}, inputs, redo)


@flow(name="report", **OPTIONS)
def report(
    dataset: Dataset,
    report: ReportSettings = DEFAULTS.report,
    frames: Input = None,
    captions: Input = None,
    negatives: Input = None,
    verifier: Input = None,
    samples: Input = None,
    shards: Input = None,
    data: Data = DATA,
    redo: Redo = False,
) -> Outcome:
    """Judge the dataset: distances with their floor and baselines, scores, pictures, costs."""
    inputs = {"frames": frames, "captions": captions, "negatives": negatives, "verifier": verifier}
    inputs |= {"samples": samples, "shards": shards}
    return _make("report", dataset, data, {"report": report}, inputs, redo)


FLOWS: Mapping[str, Flow[..., Outcome]] = {
    each.name: each
    for each in (frames, captions, negatives, teachers, adapter, verifier, samples, labels, shards, report)
}


def taken(stage: str, processes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stage's flow takes of how many processes there shall be and where."""
    return {name: value for name, value in processes.items() if name in FLOWS[stage].parameters.properties}


def _make(
    name: str,
    dataset: str,
    data: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref | None],
    redo: bool,
    lanes: int | None = None,
    executor: executors.Executor = "local",
    ranks: int = 1,
) -> Outcome:
    reads = pipeline.stage_named(name).reads(sections)
    refs = {key: ref or _latest(name, key, dataset, data) for key, ref in inputs.items() if key in reads}
    return stage.make(name, data, dataset, sections, refs, redo, lanes, executor, ranks)


def _latest(name: str, wanted: str, dataset: Dataset, data: str) -> Ref:
    """Return the newest sound output of the stage `wanted`, for the stage `name` to read."""
    folder = pipeline.dataset_root(Path(data), dataset) / pipeline.stage_named(wanted).folder_name
    ref = store.latest(folder)
    if ref is None:
        raise StoreError(f"{folder}: holds no finished output for {name} to read", f"Run {wanted} of {dataset} first.")
    log.info("%s: reads the latest %s: %s", name, wanted, ref.path)
    return ref
