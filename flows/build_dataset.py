"""The flow that builds a whole dataset: all stages in order, what is done already reused."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import Field, TypeAdapter

from flows.stages import DATA, FLOWS, OPTIONS, Data, Executor, Lanes, Ranks, taken
from irgen import files, pipeline, running, settings, store
from irgen.errors import SettingsError, StoreError
from irgen.pipeline import Outcome, PlanLine, Stage
from irgen.settings import Manifest
from irgen.store import Ref
from tasks import artifacts, events

log = logging.getLogger("irgen.run")


OUTCOME = TypeAdapter(Outcome)
StageName = Annotated[str, Field(json_schema_extra={"enum": list(pipeline.NAMES)})]


@flow(name="build_dataset", **{**OPTIONS, "flow_run_name": "{manifest}"})
def build_dataset(
    manifest: str,
    data: Data = DATA,
    from_stage: StageName | None = None,
    only: StageName | None = None,
    lanes: Lanes = 0,
    executor: Executor = "local",
    ranks: Ranks = 1,
) -> dict[str, Outcome]:
    """Build the dataset that a manifest describes.

    Args:
        manifest: Path of the manifest, from the checkout's root.
        data: Folder that holds all datasets, as the worker sees it.
        from_stage: Make this stage and all after it anew, whatever is there.
        only: Make this stage anew and no other.
        lanes: Processes that make samples side by side, a GPU or else a core each; 0: one a GPU.
        executor: Where they run; ray: on the cluster of RAY_ADDRESS, without it on this machine's own Ray.
        ranks: Processes that train adapter and verifier together, a GPU each or a share of the cores.

    Raises:
        RunningError: a run with other settings is at work on this dataset.

    Returns:
        Outcomes by stage, of those that ran.
    """
    wanted = settings.load_manifest(Path(manifest))
    with running.claimed(pipeline.dataset_root(Path(data), wanted.dataset), wanted):
        return _build(wanted, data, from_stage, only, {"lanes": lanes, "executor": executor, "ranks": ranks})


def _build(
    wanted: Manifest, data: str, from_stage: str | None, only: str | None, processes: Mapping[str, Any]
) -> dict[str, Outcome]:
    redo = forced(from_stage, only)
    lines = pipeline.plan(wanted, Path(data), redo)
    if only:
        lines = [line for line in lines if line.stage == only or line.stage in pipeline.stage_named(only).inputs]
    for line in lines:
        log.info("plan: %-10s %-7s %s", line.stage, line.action, line.reason)
    artifacts.publish_plan(wanted.dataset, lines)
    from irgen import room  # not at the top: it loads what stages need

    room.require(wanted, Path(data), lines)
    outcomes = _only(only, wanted, data, lines, processes) if only else _all(wanted, data, redo, processes)
    if "report" in outcomes and not only:
        _summarise(wanted, data, outcomes)
    return outcomes


def forced(from_stage: str | None, only: str | None) -> Collection[str]:
    """Return the stages that are to be made anew whatever is there.

    Raises:
        SettingsError: an unknown stage, or both given.
    """
    if from_stage and only:
        raise SettingsError(f"--from {from_stage} and --only {only} exclude each other", "Name one of them.")
    if only:
        return (pipeline.stage_named(only).name,)
    if from_stage:
        return pipeline.NAMES[pipeline.NAMES.index(pipeline.stage_named(from_stage).name) :]
    return ()


def _all(wanted: Manifest, data: str, redo: Collection[str], processes: Mapping[str, Any]) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for stage in pipeline.STAGES:
        arguments = {name: getattr(wanted, name) for name in stage.sections}
        arguments |= {name: outcomes[name].ref for name in stage.inputs}
        arguments |= taken(stage.name, processes)
        arguments |= {"dataset": wanted.dataset, "data": data, "redo": stage.name in redo}
        # Of a stage that a retried run had done, Prefect hands out the stored result, as a dict; it may be of what the
        # manifest said then, or of an earlier irgen. Asked once more, the stage answers itself.
        outcomes[stage.name] = OUTCOME.validate_python(FLOWS[stage.name](**arguments))
        if not _is_wanted(stage, outcomes[stage.name].ref, wanted, outcomes):
            log.info("%s: what was done before the retry is not what is wanted now", stage.name)
            outcomes[stage.name] = OUTCOME.validate_python(FLOWS[stage.name](**arguments))
    return outcomes


def _is_wanted(stage: Stage, ref: Ref, wanted: Manifest, outcomes: Mapping[str, Outcome]) -> bool:
    sections = {name: getattr(wanted, name) for name in stage.sections}
    inputs = {name: outcomes[name].ref for name in stage.reads(sections)}
    fingerprint, *_ = pipeline.identify(stage, sections, inputs)
    try:
        return ref.folder.name == fingerprint and store.ref(ref.folder).content == ref.content
    except StoreError:
        return False


def _only(
    name: str, wanted: Manifest, data: str, lines: Collection[PlanLine], processes: Mapping[str, Any]
) -> dict[str, Outcome]:
    stage = pipeline.stage_named(name)
    arguments = {section: getattr(wanted, section) for section in stage.sections}
    refs = {line.stage: line.ref for line in lines}
    for line in lines:
        if line.stage in stage.reads(arguments) and line.ref is None:
            raise StoreError(f"{name} reads {line.stage}: {line.reason}", "Run without --only first.")
    arguments |= {**{key: refs[key] for key in stage.inputs}, **taken(name, processes)}
    return {name: FLOWS[name](dataset=wanted.dataset, data=data, redo=True, **arguments)}


def _summarise(wanted: Manifest, data: str, outcomes: dict[str, Outcome]) -> None:
    from irgen import report  # not at the top: it loads the numeric libraries, and flows must import in a second

    summary = report.summary(outcomes)
    path = pipeline.dataset_root(Path(data), wanted.dataset) / "summary.json"
    files.write_bytes(path, files.sealed(summary))
    log.info("summary: %s", path)
    page = outcomes["report"].ref.folder / "index.html"
    artifacts.publish_summary(wanted.dataset, summary, page)
    if not (outcomes["shards"].reused and outcomes["report"].reused):
        events.publish_finished(wanted.dataset, outcomes["shards"], page, summary)
