"""The chain of stages: what each reads, whether it is done, and running one.

This is what flows, the command line and the plan have in common. It knows no stage's inside.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from irgen import files, machine, progress, store
from irgen.errors import SettingsError, StoreError
from irgen.settings import Manifest, Settings
from irgen.store import Ref

log = logging.getLogger(__name__)

Helpers = Callable[[Path, bool], int]
"""Has other processes work at an output: called with its folder, and whether all of it is to be made anew; returns how
many there were."""


class StageModule(Protocol):
    """What a module of `irgen.stages` has.

    `run` is called with the stage's sections and input folders by name and `out`. `externals` names the content
    digests of what the stage reads from outside the store.
    """

    VERSION: int

    def run(self, **arguments: Any) -> dict[str, Any]: ...  # noqa: D102

    def externals(self, **sections: Settings) -> dict[str, str]: ...  # noqa: D102


@dataclass(frozen=True)
class Stage:
    """One step of the way of the data.

    Attributes:
        number: place in the order of the flow, and in the folder's name.
        name: also the module in `irgen.stages`.
        sections: of the manifest, that it obeys.
        inputs: stages whose outputs it reads.
        unused: given its sections, which of its sections and inputs have no say under these settings; what they hold
            is then no part of its fingerprint, and such an input need not be there.
    """

    number: int
    name: str
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    unused: Callable[[Mapping[str, Any]], Collection[str]] = lambda sections: ()

    def reads(self, sections: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the inputs that it reads under these settings."""
        unused = self.unused(sections)
        return tuple(name for name in self.inputs if name not in unused)

    @property
    def folder_name(self) -> str:
        """Name of the folder that holds its outputs."""
        return f"{self.number:02d}-{self.name}"

    def module(self) -> StageModule:
        """Import its code."""
        return cast(StageModule, importlib.import_module(f"irgen.stages.{self.name}"))


def _unused_by_verifier(sections: Mapping[str, Any]) -> Collection[str]:
    """Only for samples of its own does the verifier need the adapted base."""
    return () if sections["verifier"].own_samples else ("base", "adapter")


def _unused_by_teachers(sections: Mapping[str, Any]) -> Collection[str]:
    """Where nothing is labelled, nothing is trained; how labels are made from the teachers' votes is not theirs."""
    return ("teachers", "frames") if sections["labels"].mode == "none" else ("labels",)


def _unused_by_samples(sections: Mapping[str, Any]) -> Collection[str]:
    """Only images that start from frames, or are selected to look like them, need them; teachers may be the guide."""
    samples = sections["samples"]
    unused = [] if samples.start.used or samples.selection.net else ["frames"]
    return unused if samples.asks_teachers else [*unused, "teachers"]


STAGES = (
    Stage(1, "frames", ("frames",), ()),
    Stage(2, "captions", ("captions",), ("frames",)),
    Stage(3, "negatives", ("negatives",), ("frames", "captions")),
    Stage(3, "teachers", ("teachers", "labels"), ("frames",), unused=_unused_by_teachers),
    Stage(4, "adapter", ("adapter", "base"), ("frames", "captions")),
    Stage(
        5, "verifier", ("verifier", "base"), ("frames", "captions", "negatives", "adapter"), unused=_unused_by_verifier
    ),
    Stage(
        6,
        "samples",
        ("samples", "base"),
        ("frames", "captions", "teachers", "verifier", "adapter"),
        unused=_unused_by_samples,
    ),
    Stage(7, "labels", ("labels",), ("teachers", "samples")),
    Stage(8, "shards", ("shards",), ("frames", "captions", "samples", "labels")),
    Stage(9, "report", ("report",), ("frames", "captions", "negatives", "verifier", "samples", "shards")),
)
NAMES = tuple(stage.name for stage in STAGES)


def stage_named(name: str) -> Stage:
    """Return a stage.

    Raises:
        SettingsError: no such stage; lists what there is.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise SettingsError(f"no stage is called {name!r}", f"Stages: {', '.join(NAMES)}.")


@dataclass(frozen=True)
class Outcome:
    """A stage's output and how it came about.

    Attributes:
        ref: the output.
        reused: True where it was there already.
        seconds: wall time of this call.
        figures: what the stage measured, from the output's manifest.
    """

    ref: Ref
    reused: bool
    seconds: float
    figures: dict[str, Any]


def dataset_root(data: Path, dataset: str) -> Path:
    """Return the folder of all outputs of one dataset."""
    return data / dataset


def identify(
    stage: Stage, sections: Mapping[str, Settings], inputs: Mapping[str, Ref]
) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return a stage's fingerprint, its resolved settings and the contents of all it reads."""
    module = stage.module()
    unused = stage.unused(sections)
    settings = {name: sections[name].model_dump(mode="json") for name in stage.sections if name not in unused}
    contents = {name: inputs[name].content for name in stage.reads(sections)}
    contents |= module.externals(**{name: sections[name] for name in stage.sections})
    return store.fingerprint(stage.name, module.VERSION, settings, contents), settings, contents


def run_stage(
    stage: Stage,
    root: Path,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    *,
    redo: bool = False,
    helpers: Helpers | None = None,
) -> Outcome:
    """Make a stage's output, or take the one that is there; carry on where an interrupted run stopped.

    Args:
        stage: which.
        root: the dataset's folder.
        sections: the manifest sections that the stage obeys, by name.
        inputs: outputs of the stages it reads under these settings, by name; verified before use.
        redo: throw away what is there, finished or not, and make it anew.
        helpers: called before the stage; it then finds shards made, or a model trained.

    Raises:
        StoreError: an input is damaged.
        IrgenError: whatever the stage raises.
    """
    identity = identify(stage, sections, inputs)
    return _run(root / stage.folder_name / identity[0], identity, stage, sections, inputs, redo, helpers)


def run_in(folder: Path, stage: Stage, sections: Mapping[str, Settings], inputs: Mapping[str, Ref]) -> Outcome:
    """Do as `run_stage`, in a folder of the caller's choice; this stage's output with other settings is replaced.

    Raises:
        StoreError: the folder holds something else; or as `run_stage`.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / files.TMP).exists():
        try:
            maker = store.read_manifest(folder)["stage"]
        except StoreError:
            maker = "something else"
        if maker != stage.name:
            raise StoreError(f"{folder}: holds files of {maker}", "Name a folder that is empty or new.")
    return _run(folder, identify(stage, sections, inputs), stage, sections, inputs, redo=False)


def _run(
    folder: Path,
    identity: tuple[str, dict[str, Any], dict[str, str]],
    stage: Stage,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    redo: bool,
    helpers: Helpers | None = None,
) -> Outcome:
    started, started_cpu = time.monotonic(), progress.cpu_seconds()
    for key, ref in inputs.items():
        if found := store.problems(ref.folder):
            raise StoreError(f"{ref.stage}: {found[0]}", f"Run `irgen run` again: it redoes {ref.stage}.")
        if (there := store.ref(ref.folder)).content != ref.content or there.stage != key:
            raise StoreError(
                f"{ref.path}: not the output of {key} that is asked for, but one of {there.stage} with other content",
                "Leave the input empty for the latest one; or give path and content of one output.",
            )
    name, settings, contents = identity
    with store.exclusive(folder):
        done = (folder / store.MANIFEST).exists()
        if done and not redo:
            found = store.problems(folder)
            if not found and (manifest := store.read_manifest(folder))["fingerprint"] == name:
                files.remove_tree(folder / files.TMP)
                # What is in use is the latest: exports and stages without inputs take that.
                with contextlib.suppress(OSError):
                    os.utime(folder / store.MANIFEST)
                return Outcome(store.ref(folder), True, time.monotonic() - started, manifest["figures"])
            log.warning("%s: redone: %s", stage.name, found[0] if found else "made with other settings")
            if not (found and store.salvage(folder, name)):
                _empty(folder)
        if redo:
            _empty(folder)
        arguments: dict[str, Any] = {key: sections[key] for key in stage.sections}
        arguments |= {key: inputs[key].folder for key in stage.reads(sections)}
        resumed = any(files.below(folder)) or any((folder / files.TMP).iterdir())
        with progress.recorded() as parts:
            lanes = helpers(folder, redo) if helpers else 0
            figures = stage.module().run(**arguments, out=folder)
        if "torch" in sys.modules:
            from irgen import devices

            devices.release()
        files.remove_tree(folder / files.TMP)
        seconds = time.monotonic() - started
        cost = {"seconds": seconds, "cpu_seconds": progress.cpu_seconds() - started_cpu, "resumed": resumed}
        tally = {name: asdict(part) for name, part in parts.items()}
        store.write_cost(folder, {**cost, "parts": tally, "lanes": max(1, lanes), **machine.here()})
        document = {
            "stage": stage.name,
            "version": stage.module().VERSION,
            "fingerprint": name,
            "settings": settings,
            "inputs": contents,
            "figures": figures,
        }
        store.write_manifest(folder, document, store.listing(folder))
    return Outcome(store.ref(folder), False, seconds, figures)


def _empty(folder: Path) -> None:
    files.remove(folder / store.MANIFEST)  # first: half a removal must not look finished
    files.remove_tree(folder)
    files.make_folder(folder)
    files.make_scratch(folder / files.TMP)


@dataclass(frozen=True)
class PlanLine:
    """What a run would do with one stage, and why."""

    stage: str
    action: Literal["reuse", "redo", "resume"]
    reason: str
    ref: Ref | None


def plan(manifest: Manifest, data: Path, redo: Collection[str] = ()) -> list[PlanLine]:
    """Say for every stage whether a run would reuse, redo or resume it.

    Files that nobody touched since they were vouched for are not read: the run does that, and redoes what it finds
    damaged.

    Args:
        manifest: what to build.
        data: the data folder.
        redo: stages to be made anew whatever is there.
    """
    root = dataset_root(data, manifest.dataset)
    refs: dict[str, Ref] = {}
    lines = []
    for stage in STAGES:
        line = (
            PlanLine(stage.name, "redo", "asked for", None)
            if stage.name in redo
            else _plan_stage(stage, manifest, root, refs)
        )
        if line.ref is not None:
            refs[stage.name] = line.ref
        lines.append(line)
    return lines


def _plan_stage(stage: Stage, manifest: Manifest, root: Path, refs: Mapping[str, Ref]) -> PlanLine:
    sections = {name: getattr(manifest, name) for name in stage.sections}
    waiting = [name for name in stage.reads(sections) if name not in refs]
    if waiting:
        return PlanLine(stage.name, "redo", f"reads {', '.join(waiting)}, to be made first", None)
    name, settings, contents = identify(stage, sections, refs)
    folder = root / stage.folder_name / name
    if (folder / store.MANIFEST).exists():
        ref, found = store.examine(folder, trust_mtime=True)
        if found:
            return PlanLine(stage.name, "redo", f"its output is damaged: {found[0]}", None)
        return PlanLine(stage.name, "reuse", f"done: {folder}", ref)
    if folder.exists():
        return PlanLine(stage.name, "resume", f"interrupted: {folder}", None)
    earlier = store.latest(root / stage.folder_name, trust_mtime=True)
    if earlier is None:
        return PlanLine(stage.name, "redo", "not made yet", None)
    before = store.read_manifest(earlier.folder)
    reasons = [f"code version {before['version']} -> {stage.module().VERSION}"]
    if before["version"] == stage.module().VERSION:
        reasons = differences(before["settings"], settings) + [
            f"{key} changed" for key in contents if before["inputs"].get(key) != contents[key]
        ]
    return PlanLine(stage.name, "redo", "; ".join(reasons), None)


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Say which fields of two JSON-able documents differ, and how: a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        parts = [differences(before.get(key), after.get(key), f"{where}.{key}".lstrip(".")) for key in keys]
        return [line for part in parts for line in part]
    return [] if before == after else [f"{where}: {before} -> {after}"]
