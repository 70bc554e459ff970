"""What the Prefect UI shows of a run: the plan, a stage's figures and pictures, what it was made from, the outcome."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from irgen import store
from irgen.errors import StoreError
from irgen.lineage import ancestors
from irgen.pipeline import Outcome, PlanLine
from tasks.markdown import embedded, table

PICTURES = (".png", ".jpg")
CALIBRATION = "calibration.json"
MOVED = ("fid", "kid", "irscore", "verifier_auc")
"""Groups of the report's figures that are compared with the last run's."""


def publish(dataset: str, outcome: Outcome) -> None:
    """Show a stage's figures, its pictures and scores, and what it was made from."""
    ref, folder = outcome.ref, outcome.ref.folder
    how = "reused" if outcome.reused else f"made in {outcome.seconds:.1f} s"
    parts = [f"# {ref.stage}\n\n{how}: `{ref.path}`"]
    sharded = (folder / "contrasts").is_dir()
    if sharded:
        from tasks import sheets  # not at the top: it loads pandas, and flows must import in a second

        parts += [sheets.contrasts(folder), "## Figures"]
    parts += [table(("figure", "value"), flat(outcome.figures))]
    parts += [embedded(path.stem, image) for path, image in _pictures(folder)]
    if sharded:
        parts += ["## Scores", sheets.scores(folder)]
    if (folder / CALIBRATION).is_file():
        parts += ["## Calibration", table(("on held-out frames", "value"), flat(_read(folder / CALIBRATION)))]
    if ref.stage == "report" and (last := _before(folder)):
        parts += [f"## Against the last report, `{last[0]}`", _moved(last[1], outcome)]
    parts += ["## Made from", lineage(folder)]
    create_markdown_artifact("\n\n".join(parts), key=key(dataset, ref.stage), description=f"{ref.stage} of {dataset}")


def publish_plan(dataset: str, lines: Sequence[PlanLine]) -> None:
    """Show what a run is about to reuse or redo, and why."""
    rows = [(line.stage, line.action, line.reason) for line in lines]
    create_markdown_artifact(table(("stage", "action", "why"), rows), key=key(dataset, "plan"), description="The plan")


def publish_summary(dataset: str, summary: Mapping[str, Any], report: Path) -> None:
    """Show a finished dataset's key figures and where its report lies."""
    text = f"Report: `{report}`\n\n" + table(("figure", "value"), flat(summary))
    create_markdown_artifact(text, key=key(dataset, "summary"), description=f"Key figures of {dataset}")
    create_link_artifact(report.resolve().as_uri(), key=key(dataset, "page"), description=f"The report of {dataset}")


def lineage(folder: Path) -> str:
    """Write which outputs an output stands on, back to the frames."""
    rows = [
        (
            each.manifest["stage"],
            each.manifest["fingerprint"],
            ", ".join(sorted(each.manifest["inputs"])),
            "" if each.seconds is None else f"{each.seconds:.1f} s",
        )
        for each in ancestors([folder], folder.parents[1])
    ]
    return table(("stage", "output", "reads", "took"), rows)


def key(dataset: str, name: str) -> str:
    """Name an artifact: Prefect takes lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9-]", "-", f"{dataset}-{name}")


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested figures as rows, the names joined by dots; lists longer than a line are left out."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list) or len(value) <= 8:
            yield f"{prefix}{name}", value


def _pictures(folder: Path) -> Iterator[tuple[Path, Image.Image]]:
    """Yield the pictures at the top of an output."""
    for path in sorted(folder.iterdir()):
        if path.suffix in PICTURES:
            with Image.open(path) as image:
                yield path, image


def _before(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the report that was the newest before this one, and its figures; one that is damaged says nothing."""
    others = [path for path in folder.parent.glob(f"*/{store.MANIFEST}") if path.parent != folder]
    own = (folder / store.MANIFEST).stat().st_mtime_ns
    earlier = [path for path in others if path.stat().st_mtime_ns < own]
    for path in sorted(earlier, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        with contextlib.suppress(StoreError):
            return path.parent, store.read_manifest(path.parent)["figures"]
    return None


def _moved(before: Mapping[str, Any], outcome: Outcome) -> str:
    old = dict(flat({name: before[name] for name in MOVED if name in before}))
    new = dict(flat({name: outcome.figures[name] for name in MOVED if name in outcome.figures}))
    rows = [
        (name, old.get(name), value, value - old[name] if _numbers(old.get(name), value) else "")
        for name, value in new.items()
    ]
    return table(("figure", "last", "now", "change"), rows)


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document
