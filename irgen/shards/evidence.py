"""What was found out about a dataset after it was written: its report and its audit, as paragraphs of a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from irgen import files, lineage, store
from irgen.shards.dataset import Dataset

AUDITS, AUDIT = "audits", "audit.json"
TITLES = {
    "guided": "this dataset",
    "unguided": "the same prompts without a search",
    "grayscale": "grayscale of the visible frames",
    "floor": "real training frames",
    "real": "real test frames",
    "worst": "the candidates that the verifier liked least",
}
NO_REPORT = "No report was made of this dataset yet: `irgen run` its manifest to the end, then export it."
NO_AUDIT = "Nobody has looked at the labels yet: `irgen audit DATASET`, then export it again."


def labels_digest(dataset: Dataset) -> str:
    """Name what an audit is about: the images and their boxes, wherever the shards lie and however they were cut."""
    columns = dataset.index.select(["key", "sha256", "label_mode", "boxes"])
    digest = hashlib.sha256()
    for batch in columns.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            digest.update(files.canonical_json(row))
    return digest.hexdigest()


def audit_folder(dataset: Dataset) -> Path:
    """Return where a dataset's audit lies: beside its stages, since the shards themselves never change."""
    return dataset.folder.absolute().parent.parent / AUDITS / labels_digest(dataset)[: store.FINGERPRINT_DIGITS]


def read_audit(dataset: Dataset) -> dict[str, Any] | None:
    """Read the figures of the audit of exactly these labels, or None."""
    path = audit_folder(dataset) / AUDIT
    return json.loads(path.read_bytes()) if path.is_file() else None


def read_report(dataset: Dataset) -> dict[str, Any] | None:
    """Read the figures of a sound report of exactly these shards, or None."""
    content = dataset.manifest["content"]
    for path in sorted(dataset.folder.absolute().parent.parent.glob(f"[0-9][0-9]-report/*/{store.MANIFEST}")):
        if store.read_manifest(path.parent)["inputs"].get("shards") == content and not store.problems(path.parent):
            return json.loads((path.parent / "report.json").read_bytes())
    return None


def settings(dataset: Dataset) -> dict[str, Any]:
    """Return the settings of every stage that the dataset stands on, as far as their outputs lie beside it."""
    root = dataset.folder.absolute().parent.parent
    found = lineage.ancestors([dataset.folder], root)
    return {name: section for one in found for name, section in one.manifest["settings"].items()}


def read_teachers(dataset: Dataset) -> dict[str, Any] | None:
    """Read the figures of the detectors that made the labels, or None where none did or they are not beside it."""
    found = lineage.ancestors([dataset.folder], dataset.folder.absolute().parent.parent)
    figures = (one.manifest["figures"] for one in found if one.manifest["stage"] == "teachers")
    return next((each for each in figures if each["trained"]), None)


def teachers(figures: Mapping[str, Any] | None) -> str:
    """Word how sure the detectors are on real frames that they did not learn from."""
    if figures is None:
        return ""
    rows = [
        (label, f"{one['objects']:g}", f"{one['precision']:.3f}", f"{one['recall']:.3f}")
        for label, one in figures["labels"].items()
    ]
    told = (
        f"The detectors learned on {figures['frames']['train']} real frames. Labels made in the same way on the "
        f"{figures['frames']['val']} held-out frames of other videos:"
    )
    return f"{told}\n\n{table(('class', 'objects', 'precision', 'recall'), rows)}"


def validation(report: Mapping[str, Any] | None) -> str:
    """Word the report's distances and scores, each with N and its interval."""
    if report is None:
        return NO_REPORT
    intervals = report.get("intervals", {})
    rows = [
        (TITLES.get(name, name), measure.upper(), _figure(value, intervals.get(measure, {}).get(name)))
        for measure in ("fid", "irscore")
        for name, value in report.get(measure, {}).items()
        if value is not None
    ]
    told = (
        f"Against real test frames, N = {report['n']} on both sides; feature net {report['feature_net']}; 95 % "
        f"intervals from {report['resamplings']} resamplings of {report['resampled']}. IRSCORE is the verifier's own "
        "opinion: the search maximised it."
    )
    parts = [told, table(("set", "figure", "value"), rows)]
    if judges := list(_judges(report.get("judges", {}))):
        parts.append(table(("judge", "figure", TITLES["guided"], TITLES["unguided"]), judges))
    return "\n\n".join(parts)


def _judges(judges: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield each judge's figures with and without the search."""
    for judge, document in judges.items():
        name = judge if document["independent"] else f"{judge} (not independent of the search)"
        for metric, by_set in document["figures"].items():
            if {"guided", "unguided"} <= set(by_set):
                yield name, metric, *(_document(by_set[each]) for each in ("guided", "unguided"))


def _document(figure: Mapping[str, float]) -> str:
    return _figure(figure["value"], [figure["low"], figure["high"]] if "low" in figure else None)


def audit(figures: Mapping[str, Any] | None) -> str:
    """Word what people found when they looked at the labels."""
    if figures is None:
        return NO_AUDIT
    rows = [
        (name.replace("_", " "), str(figures[name]["n"]), _figure(figures[name]["value"], figures[name]["interval"]))
        for name in ("precision", "recall", "recall_apart_from_ignored")
    ]
    told = (
        f"{figures['images']} images, drawn at random, were looked at by hand: {figures['boxes']} boxes, of which "
        f"{figures['accepted']} were accepted, {figures['fixed']} moved and {figures['rejected']} rejected; "
        f"{figures['added']} objects had no box. A moved box is right where it overlaps its new place by an IoU of "
        f"{figures['iou']:g} or more. Intervals are Wilson's at 95 %, widened where images' boxes stand or fall "
        "together."
    )
    return f"{told}\n\n{table(('figure', 'N', 'value'), rows)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "nothing to count"
    return f"{value:.3g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")
