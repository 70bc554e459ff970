"""A finished dataset in the forms that detectors' training tools read.

Each export is written beside its final place and renamed when it is whole, so that a folder with the name asked for is
a complete one. Images are copied byte for byte.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irgen import files, progress
from irgen.errors import SettingsError, StoreError
from irgen.exports import coco, huggingface, voc, yolo
from irgen.shards import card
from irgen.shards.dataset import Dataset, Labelled, Thresholds

FORMATS = {"coco": coco, "yolo": yolo, "hf": huggingface, "voc": voc}


@dataclass(frozen=True)
class Exported:
    """What an export holds.

    Attributes:
        figures: images, images left out, boxes, ignored boxes, boxes by class.
        warnings: what its reader must know.
    """

    figures: dict[str, Any]
    warnings: list[str]


def export(path: Path, form: str, out: Path, *, min_score: float = 0.0, min_agreement: float = 0.0) -> Exported:
    """Write a dataset in another form.

    Args:
        path: a dataset's folder, or one output of stage shards.
        form: coco, yolo, hf or voc.
        out: folder to make; it may be there if it is empty.
        min_score: boxes under it are exported as ignore boxes.
        min_agreement: images whose labels agree less with their caption are left out.

    Raises:
        SettingsError: an unknown form, or a threshold out of range.
        StoreError: no such dataset, a damaged one, nothing to export, or a target that is not empty.
    """
    if form not in FORMATS:
        raise SettingsError(f"no export is called {form!r}", f"Forms: {', '.join(FORMATS)}.")
    thresholds = Thresholds(min_score, min_agreement)
    refuse_full(out)
    dataset = Dataset.open(path)
    kept = [agreement for agreement in dataset.index["agreement"].to_pylist() if thresholds.take(agreement)]
    if not kept:
        raise StoreError(
            f"{dataset.folder}: none of its {len(dataset.index)} images has an agreement of {min_agreement:g} or more",
            "Lower --min-agreement.",
        )
    tally: Counter[str] = Counter()
    with placed_folder(out) as folder, progress.bar(f"export {form}", len(kept)) as advance:
        FORMATS[form].write(dataset, _counted(dataset, thresholds, tally, advance), folder)
        figures = _figures(dataset, tally)
        warnings = _warnings(dataset, form, figures)
        image_format = card.read_facts(dataset)["image_format"]
        header = huggingface.header(dataset, image_format) if form == "hf" else {}
        told = {**figures, "warnings": warnings}
        text = card.export(dataset, form, FORMATS[form].NOTES, header, thresholds, told)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return Exported(figures, warnings)


def refuse_full(out: Path) -> None:
    """Refuse a target that holds anything.

    Raises:
        StoreError: it is a file, or a folder that is not empty.
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise StoreError(f"{out}: is there already and not empty", "Name a new folder, or remove this one.")


@contextmanager
def placed_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it becomes `out` in one step, on an exception nothing does.

    Raises:
        StoreError: somebody filled `out` meanwhile.
    """
    # Absolute, so that `.` has a parent and a name, too.
    out = out.absolute()
    scratch = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.tmp"
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for path in sorted(scratch.rglob("*")):
            files.fsync(path)
        files.fsync(scratch)
        refuse_full(out)
        scratch.rename(out)
        files.fsync(out.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _counted(
    dataset: Dataset, thresholds: Thresholds, tally: Counter[str], advance: progress.Advance
) -> Iterator[Labelled]:
    for each in dataset.read(thresholds):
        yield each
        tally["images"] += 1
        tally["without boxes"] += not each.boxes
        tally["ignored"] += len(each.ignored)
        tally.update(f"class {box.label}" for box in each.boxes)
        advance(1)


def _figures(dataset: Dataset, tally: Counter[str]) -> dict[str, Any]:
    by_class = {name: tally[f"class {name}"] for name in dataset.classes}
    return {
        "images": tally["images"],
        "images_without_boxes": tally["without boxes"],
        "images_left_out": len(dataset.index) - tally["images"],
        "boxes": sum(by_class.values()),
        "ignored": tally["ignored"],
        "boxes_by_class": by_class,
    }


def _warnings(dataset: Dataset, form: str, figures: dict[str, Any]) -> list[str]:
    found = []
    if not dataset.labelled:
        found.append("the dataset has no labels: every image is exported without boxes, which is not 'without people'")
    elif not figures["boxes"]:
        found.append("no box is left: lower --min-score")
    if form == "yolo" and figures["ignored"]:
        found.append(
            f"YOLO knows no ignore boxes: {figures['ignored']} are left out, and what they may show counts as "
            "background; a higher --min-agreement leaves out images with doubtful boxes"
        )
    return found
