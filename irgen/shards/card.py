"""The dataset's card: a README.md as the Hugging Face hub reads it, of the dataset itself and of each export."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from irgen import files, records, store
from irgen.errors import StoreError
from irgen.places import REMAKE
from irgen.settings import ShardsSettings
from irgen.shards import evidence, licences
from irgen.shards.card_text import EXPORT, LABELLED_LIMITS, LIMITS, MODES, RECORDS, TEXT, UNLABELLED_LIMITS
from irgen.shards.committed import RUN
from irgen.shards.committed import records as commit_records
from irgen.shards.dataset import Dataset, Thresholds
from irgen.shards.evidence import table
from irgen.shards.sample import BOX, BOXES

FACTS = "card.json"
"""What a card says, as data: an export, which may lie anywhere, words its own card from it."""


def write(facts: Mapping[str, Any]) -> str:
    """Return the card of the dataset itself, which knows neither its report nor its audit: both come after it.

    Args:
        facts: as `gather` returns them.
    """
    image_format = facts["image_format"]
    data = {
        "configs": [{"config_name": "default", "data_files": "shards/*.tar"}],
        "dataset_info": {"features": _features(facts["sheet"], image_format)},
    }
    told = RECORDS.format(image_format=image_format, fields="`, `".join(facts["sheet"]))
    later = "`irgen export` writes it into its card, where there is one."
    return _card(facts, data, told, audit=later, validation=later, teachers="", **facts["figures"])


def read_facts(dataset: Dataset) -> dict[str, Any]:
    """Read what the cards of a dataset say.

    Raises:
        StoreError: it has none, being made by an earlier irgen.
    """
    try:
        return json.loads((dataset.folder / FACTS).read_bytes())
    except OSError as error:
        raise StoreError(f"{dataset.folder / FACTS}: cannot be read ({error.strerror})", REMAKE) from error


def export(
    dataset: Dataset,
    form: str,
    notes: str,
    data: Mapping[str, Any],
    thresholds: Thresholds,
    figures: Mapping[str, Any],
) -> str:
    """Return the card of an export, with all that is known by now.

    Args:
        dataset: that was exported.
        form: coco, yolo, hf or voc.
        notes: what the export's files are; `{image_format}` stands for png or jpg.
        data: what the header says of the data, where the hub can read them.
        thresholds: of the export.
        figures: images, boxes, ..., and warnings, as `irgen.exports.Exported` has them.

    Raises:
        StoreError: the dataset has no facts.
    """
    facts = read_facts(dataset)
    told = EXPORT.format(
        form=form,
        notes=notes.replace("{image_format}", facts["image_format"]),
        min_score=thresholds.min_score,
        min_agreement=thresholds.min_agreement,
        warnings="\n".join(f"- **{warning}**" for warning in figures["warnings"]),
        **{name: value for name, value in figures.items() if name != "warnings"},
    )
    found = {"audit": evidence.audit(evidence.read_audit(dataset))}
    found |= {"teachers": evidence.teachers(evidence.read_teachers(dataset))}
    found |= {"validation": evidence.validation(evidence.read_report(dataset))}
    facts["settings"] |= evidence.settings(dataset)
    return _card(facts, data, told, **found, **facts["figures"])


def gather(
    settings: ShardsSettings,
    frames: Path,
    captions: Path,
    samples: Path,
    labels: Path,
    figures: Mapping[str, Any],
    outcome: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather what every card of a dataset says, JSON-able.

    Args:
        settings: licence and description.
        frames: output of stage frames.
        captions: output of stage captions.
        samples: output of stage samples.
        labels: output of stage labels.
        figures: rows, images, failed, shards and labels.
        outcome: see `irgen.shards.outcome`.

    Raises:
        StoreError: one of the outputs is damaged.
    """
    known = [store.read_manifest(folder)["settings"] for folder in (frames, captions, samples, labels)]
    source = store.read_manifest(frames)["settings"]["frames"]["source"]
    made = store.read_manifest(samples)
    run = files.read_sealed(samples / RUN)
    origins = Counter(row.origin for row in records.read_rows(captions / "captions.parquet", records.Caption))
    sheet: dict[str, Any] = next((record["sheet"] for record in commit_records(samples) if record["sheet"]), {})
    model = made["settings"]["base"]["model"]
    return {
        "licence": licences.licence(settings.licence, source, model),
        "description": settings.description or "Long-wave infrared street scenes.",
        "image_format": made["settings"]["samples"]["image_format"],
        "sheet": {**sheet, "agreement": "float", BOXES: [BOX], "label_mode": "str"},
        "source": source,
        "captions": ", ".join(f"{count} by {origin}" for origin, count in sorted(origins.items())),
        "model": "/".join(Path(model).parts[-2:]),
        "run": {name: run[name] for name in ("base", "adapter", "verifier", "algorithm", "steps")},
        "samples": made["fingerprint"],
        "settings": {name: section for sections in known for name, section in sections.items()},
        "figures": dict(figures),
        "outcome": list(outcome),
    }


def _card(facts: Mapping[str, Any], data: Mapping[str, Any], told: str, **parts: Any) -> str:
    labels = facts["figures"]["labels"]
    header = DatasetCardData(
        license=facts["licence"],
        task_categories=["text-to-image", *(["object-detection"] if labels["boxes"] else [])],
        tags=["infrared", "lwir", "thermal", "synthetic", "webdataset"],
        **data,
    )
    run = facts["run"]
    made = {
        "frames": facts["source"],
        "captions": facts["captions"],
        "base": f"{facts['model']}, `{run['base']}`",
        "adapter": f"`{run['adapter']}`",
        "verifier": f"`{run['verifier']}`",
        "search": f"{run['algorithm']}, {run['steps']} steps",
        "samples": f"`{facts['samples']}`",
    }
    text = TEXT.format(
        description=facts["description"],
        records=told,
        labels=_labels(labels),
        outcome=_outcome(facts["outcome"]),
        made=table(("", ""), made.items()),
        settings=yaml.safe_dump(facts["settings"], allow_unicode=True, width=110).strip(),
        source_licence=licences.source_terms(facts["source"]),
        base_licence=licences.base_terms(facts["model"]),
        limits=LIMITS.format(labels=LABELLED_LIMITS if labels["boxes"] else UNLABELLED_LIMITS),
        **{name: value for name, value in parts.items() if name != "labels"},
    )
    return str(DatasetCard(f"---\n{header.to_yaml()}\n---\n\n{text}"))


def _labels(labels: Mapping[str, Any]) -> str:
    """Word how the boxes were made, and how many there are."""
    modes = [f"- **{mode}** ({count} images): {MODES.get(mode, mode)}" for mode, count in labels["modes"].items()]
    rows = [(name, str(count)) for name, count in labels["boxes_by_class"].items()]
    rows += [("to be ignored", str(labels["ignored"]))]
    rows += [(f"left out: {reason}", str(count)) for reason, count in labels["rejected"].items()]
    told = f"Mean agreement of the boxes with the captions: {labels['agreement']:.3f}. Thresholds are asked when the "
    told += "dataset is read or exported (`min_score`, `min_agreement`): nothing need be made anew to be stricter."
    return "\n\n".join(["\n".join(modes), table(("boxes", "N"), rows), told] if rows[:-1] else modes)


def _outcome(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("asked", "found", "ignored")
    cells = [[row["what"], *("" if row[name] == -1 else str(row[name]) for name in names)] for row in rows]
    return table(("", "asked", "found", "under ignore boxes"), cells)


def _features(sheet: Mapping[str, Any], image_format: str) -> list[dict[str, Any]]:
    """Return the columns of the dataset's own shards as a card's header spells them."""
    columns = [{"name": image_format, "dtype": "image"}, {"name": "json", **_kind(sheet)}]
    return columns + [{"name": name, "dtype": "string"} for name in ("txt", "__key__", "__url__")]


def _kind(shape: Any) -> dict[str, Any]:
    """Return what a header says of a column whose score sheets have this shape."""
    if isinstance(shape, Mapping):
        return {"struct": [{"name": name, **_kind(part)} for name, part in shape.items()]}
    if isinstance(shape, list):
        inner = _kind(shape[0])
        return {"list": inner.get("struct") or inner["dtype"]}
    return {"dtype": {"bool": "bool", "int": "int64", "float": "float64", "str": "string"}[shape]}
