"""What a study would make: a stage that several of its runs share is made once, by the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from irgen import costs, pipeline, rehearsal
from irgen.costs import Estimate, Measured
from irgen.pipeline import PlanLine, Stage
from irgen.settings import Manifest
from irgen.store import Ref
from irgen.studies.settings import Run


@dataclass(frozen=True)
class RunPlan:
    """What a run of a study would do.

    Attributes:
        run: which.
        lines: of each stage; one that an earlier run makes is to be reused.
        estimates: what that takes, by stage.
    """

    run: Run
    lines: tuple[PlanLine, ...]
    estimates: Mapping[str, Estimate]

    @property
    def made(self) -> list[str]:
        """Names of the stages that it makes itself."""
        return [line.stage for line in self.lines if line.action != "reuse"]


def plan(runs: Sequence[Run], data: Path, calibrate: bool = False) -> list[RunPlan]:
    """Say what each run of a study would reuse and make, and what it would take.

    Args:
        runs: of the study, in their order.
        data: the data folder.
        calibrate: make a little of everything first, once a variant.

    Raises:
        IrgenError: whatever a stage raises while it is rehearsed.
    """
    makers: dict[str, str] = {}
    rehearsed: dict[str, Mapping[str, Measured]] = {}
    found = []
    for run in runs:
        lines = tuple(_shared(line, run, makers) for line in pipeline.plan(run.manifest, data))
        if run.variant not in rehearsed:
            asked = calibrate and any(line.action != "reuse" for line in lines)
            known = rehearsal.rehearse(run.manifest, data, lines) if asked else rehearsal.kept(run.manifest)
            rehearsed[run.variant] = known
        estimates = costs.estimate(run.manifest, data, lines, rehearsed[run.variant])
        found.append(RunPlan(run, lines, estimates))
    return found


def _shared(line: PlanLine, run: Run, makers: dict[str, str]) -> PlanLine:
    """Reuse what an earlier run makes; note this run as the maker of the rest."""
    if line.action == "reuse":
        return line
    maker = makers.setdefault(_identity(pipeline.stage_named(line.stage), run.manifest), run.name)
    return line if maker == run.name else replace(line, action="reuse", reason=f"made by {maker}", ref=None)


def _identity(stage: Stage, manifest: Manifest) -> str:
    """Return what tells an output before its inputs are there: a fingerprint with theirs in place of their contents."""
    sections = {name: getattr(manifest, name) for name in stage.sections}
    read = {
        name: Ref(stage=name, path="", content=_identity(pipeline.stage_named(name), manifest))
        for name in stage.reads(sections)
    }
    return pipeline.identify(stage, sections, read)[0]
