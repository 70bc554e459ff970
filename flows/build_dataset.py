"""The flow that builds a whole dataset: all stages in order, what is done already reused."""

import logging
from collections.abc import Collection
from pathlib import Path

from prefect import flow

from flows.stages import DATA, FLOWS, OPTIONS
from irgen import files, pipeline, settings
from irgen.errors import SettingsError, StoreError
from irgen.pipeline import Outcome, PlanLine
from irgen.settings import Manifest
from tasks import artifacts

log = logging.getLogger("irgen.run")


@flow(name="build_dataset", **{**OPTIONS, "flow_run_name": "{manifest}"})
def build_dataset(
    manifest: str, data: str = DATA, from_stage: str | None = None, only: str | None = None
) -> dict[str, Outcome]:
    """Build the dataset that a manifest describes.

    Args:
        manifest: path of the manifest.
        data: folder that holds all datasets.
        from_stage: make this stage and all after it anew, whatever is there.
        only: make this stage anew and no other.

    Returns:
        Outcomes by stage, of those that ran.
    """
    wanted = settings.load_manifest(Path(manifest))
    redo = forced(from_stage, only)
    lines = pipeline.plan(wanted, Path(data), redo)
    if only:
        lines = [line for line in lines if line.stage == only or line.stage in pipeline.stage_named(only).inputs]
    for line in lines:
        log.info("plan: %-10s %-7s %s", line.stage, line.action, line.reason)
    artifacts.publish_plan(wanted.dataset, lines)
    outcomes = _only(only, wanted, data, lines) if only else _all(wanted, data, redo)
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


def _all(wanted: Manifest, data: str, redo: Collection[str]) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for stage in pipeline.STAGES:
        arguments = {name: getattr(wanted, name) for name in stage.sections}
        arguments |= {name: outcomes[name].ref for name in stage.inputs}
        outcomes[stage.name] = FLOWS[stage.name](
            dataset=wanted.dataset, data=data, redo=stage.name in redo, **arguments
        )
    return outcomes


def _only(name: str, wanted: Manifest, data: str, lines: Collection[PlanLine]) -> dict[str, Outcome]:
    stage = pipeline.stage_named(name)
    arguments = {section: getattr(wanted, section) for section in stage.sections}
    refs = {line.stage: line.ref for line in lines}
    for line in lines:
        if line.stage in stage.reads(arguments) and line.ref is None:
            raise StoreError(f"{name} reads {line.stage}: {line.reason}", "Run without --only first.")
    arguments |= {key: refs[key] for key in stage.inputs}
    return {name: FLOWS[name](dataset=wanted.dataset, data=data, redo=True, **arguments)}


def _summarise(wanted: Manifest, data: str, outcomes: dict[str, Outcome]) -> None:
    from irgen import report  # not at the top: it loads the numeric libraries, and flows must import in a second

    summary = report.summary(outcomes)
    path = pipeline.dataset_root(Path(data), wanted.dataset) / "summary.json"
    files.write_json(path, summary)
    log.info("summary: %s", path)
    artifacts.publish_summary(wanted.dataset, summary, outcomes["report"].ref.folder / "index.html")
