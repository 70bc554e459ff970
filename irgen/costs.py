"""What a run will take: time, GPU hours, bytes on disk and money, reckoned from what stages took before.

A stage's `cost.json` tells its parts by the bars that it showed: so many units, so many seconds. What is under a bar
grows with the stage's amount of work (`irgen.amounts`); the rest (loading, a grid, a card) does not. What is learnt
from is a rehearsal (`irgen.rehearsal`) where there was one, else an output of the dataset itself, else one of another
dataset on the same base; always of this machine.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from irgen import machine, pipeline, store
from irgen.amounts import PARTS, WORK, Amount
from irgen.errors import StoreError
from irgen.pipeline import PlanLine, Stage
from irgen.progress import Part
from irgen.settings import Manifest

log = logging.getLogger(__name__)

_PARTS = TypeAdapter(dict[str, Part])

ON_GPU = frozenset({"teachers", "adapter", "verifier", "samples", "labels", "report"})
"""Stages whose work is done on the GPU where there is one."""
BY_BASE = frozenset({"adapter", "samples"})
"""Stages that other datasets on the same base tell something of, too."""


@dataclass(frozen=True)
class Measured:
    """What a stage took once.

    Attributes:
        manifest: under which it ran: its own sections as they were, the others as planned.
        cost: its `cost.json`.
        bytes: that it wrote.
        source: where this is known from.
    """

    manifest: Manifest
    cost: Mapping[str, Any]
    bytes: int
    source: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a run will spend on one stage; None: not known.

    Attributes:
        seconds: wall time; that of samples with a lane on each GPU.
        gpu_hours: in which it uses a GPU.
        bytes: that it adds on disk.
        source: what this is reckoned from.
    """

    seconds: float | None
    gpu_hours: float | None
    bytes: float | None
    source: str = ""

    def document(self, price: float | None) -> dict[str, Any]:
        """Return the fields and `money`: of its GPU hours, None where the price of one is not known."""
        paid = None if self.gpu_hours is None or price is None else self.gpu_hours * price
        return {**asdict(self), "money": paid}


NOTHING = Estimate(0.0, 0.0, 0.0)
UNKNOWN = Estimate(None, None, None)


def total(estimates: Iterable[Estimate]) -> Estimate:
    """Add up; what is not known of one is not known of all."""
    rows = [(one.seconds, one.gpu_hours, one.bytes) for one in estimates]
    seconds, hours, written = (_sum(column) for column in zip(*rows, strict=True))
    return Estimate(seconds, hours, written)


def _sum(column: Iterable[float | None]) -> float | None:
    known = list(column)
    return None if None in known else math.fsum(filter(None, known))


def estimate(
    manifest: Manifest, data: Path, lines: Iterable[PlanLine], rehearsed: Mapping[str, Measured]
) -> dict[str, Estimate]:
    """Reckon what a run will take, by stage.

    Args:
        manifest: what to build.
        data: the data folder.
        lines: what the run would do; an interrupted stage is reckoned as a whole.
        rehearsed: what a rehearsal took, by stage; it comes before what outputs tell.
    """
    found = {}
    for line in lines:
        if line.action == "reuse":
            found[line.stage] = NOTHING
            continue
        known = rehearsed.get(line.stage) or next(measured(line.stage, manifest, data), None)
        found[line.stage] = predicted(line.stage, manifest, known) if known else UNKNOWN
    return found


def predicted(stage: str, manifest: Manifest, known: Measured, clock: str = "seconds") -> Estimate:
    """Reckon a stage from what it took once.

    Args:
        stage: which.
        manifest: what to build.
        known: from a run whose settings are `like`.
        clock: `seconds`, or `cpu_seconds` (`irgen.progress`), which hold on a busy machine, too.
    """
    work = WORK[stage]
    growth = _growth(work.amount, manifest, known)
    parts = _parts(known.cost)
    under = {name: _per_unit(vars(part), clock) * part.count for name, part in parts.items()}
    rest = max(known.cost[clock] - sum(under.values()), 0.0)
    if not parts:  # of an earlier irgen: all of it is taken to grow
        rest *= growth
    grown = 0.0
    for name, spent in under.items():
        of_its_own = next((amount for start, amount in PARTS.items() if name.startswith(start)), None)
        grown += spent * (_growth(of_its_own, manifest, known) if of_its_own else growth)
    gpus = len(machine.gpus())
    used = min(gpus, 1) if stage in ON_GPU or (stage == "captions" and manifest.captions.captioner == "vlm") else 0
    if stage == "samples" and gpus:  # without any, lanes share the cores
        grown *= known.cost.get("lanes", 1) / gpus
        used = gpus
    seconds = rest + grown
    written = known.bytes * (_growth(work.files, manifest, known) if work.files else 1.0)
    return Estimate(seconds, used * seconds / 3600, written, known.source)


def _parts(cost: Mapping[str, Any]) -> dict[str, Part]:
    return _PARTS.validate_python(cost.get("parts", {}))


def _growth(amount: Amount, manifest: Manifest, known: Measured) -> float:
    """Return how many times as much there is to do."""
    before = amount(known.manifest)
    return amount(manifest) / before if before else 1.0


def _per_unit(part: Mapping[str, float], clock: str) -> float:
    """Return the time of a unit, warming up left out where there is a second one to tell."""
    later = part["count"] - part["first"]
    return (part[clock] - part[f"first_{clock}"]) / later if later else part[clock] / max(part["count"], 1)


def measured(name: str, manifest: Manifest, data: Path) -> Iterator[Measured]:
    """Yield what finished outputs tell of a stage, the dataset's own first and the newest of each first.

    Args:
        name: of the stage.
        manifest: what is planned; outputs made with settings that are not `like` it are left out.
        data: the data folder.
    """
    stage = pipeline.stage_named(name)
    own = pipeline.dataset_root(data, manifest.dataset)
    others = [root for root in data.glob("[!.]*") if root != own] if name in BY_BASE else []
    for root in (own, *others):
        marks = (root / stage.folder_name).glob(f"*/{store.MANIFEST}")
        for mark in sorted(marks, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            known = read(stage, mark.parent, manifest)
            if known and WORK[name].like(known.manifest) == WORK[name].like(manifest):
                yield known


def read(stage: Stage, folder: Path, manifest: Manifest) -> Measured | None:
    """Return what a finished output took; None where that says nothing of a whole run on this machine.

    Args:
        stage: that made it.
        folder: the output.
        manifest: gives the sections that the stage does not obey.
    """
    try:
        document, cost = store.read_manifest(folder), store.read_cost(folder)
        sections: dict[str, Any] = {
            name: type(getattr(manifest, name)).model_validate(section)
            for name, section in document["settings"].items()
        }
        _parts(cost)
        if "seconds" not in cost or cost.get("resumed") or any(cost.get(k, v) != v for k, v in machine.here().items()):
            return None
        if stage.name in ("labels", "shards"):
            sections["samples"] = manifest.samples.model_copy(update={"images": document["figures"]["images"]})
    except (StoreError, OSError, ValueError, KeyError, AttributeError) as error:
        log.debug("%s: tells nothing of costs: %s", folder, error)
        return None
    written = sum(row["bytes"] for row in document["files"])
    return Measured(manifest.model_copy(update=sections), cost, written, str(folder))


HEADER = ("time", "GPU h", "disk", "money")


def cells(one: Estimate, price: float | None) -> tuple[str, ...]:
    """Word an estimate for a row under `HEADER`; what is not known is a question mark."""
    row = one.document(price)
    hours, written, money = row["gpu_hours"], row["bytes"], row["money"]
    return (
        "?" if one.seconds is None else _duration(one.seconds),
        "?" if hours is None else f"{hours:.2f}",
        "?" if written is None else f"{written / 2**20:,.1f} MiB",
        "" if price is None else "?" if money is None else f"{money:,.2f}",
    )


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.1f} min" if hours < 2 else f"{hours:.1f} h"
