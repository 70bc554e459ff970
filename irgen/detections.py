"""Annotations and detections of KAIST as the field passes them around: COCO-like JSON, and text of six columns."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irgen.errors import SourceError
from irgen.metrics import missrate
from irgen.metrics.missrate import Detections, Objects, Setting

PERSON = "person"
NIGHT_SETS = frozenset({3, 4, 5, 9, 10, 11})
COLUMNS = "image, x, y, width, height, score"
TRUTH_FORM = "Give KAIST's test annotations as JSON with `images`, `annotations` and `categories`."
SHOWN = 5


@dataclass(frozen=True)
class Truth:
    """Images, their objects, and whether each is of the night.

    Attributes:
        ids: of the images, ascending.
        objects: of each.
        night: of each.
        categories: name by number.
    """

    ids: tuple[int, ...]
    objects: tuple[Objects, ...]
    night: tuple[bool, ...]
    categories: dict[int, str]


@dataclass(frozen=True)
class Row:
    """One detection as its file has it; `where` names the place in the file."""

    where: str
    image: int
    box_px: tuple[float, float, float, float]
    score: float


def evaluate(
    truth: Path, detections: Path, first_image: int | None = None
) -> tuple[dict[str, float | None], list[str]]:
    """Return the miss rates and the recall in per cent, None where there is nothing to find, and warnings.

    Args:
        truth: JSON of the images and their boxes.
        detections: JSON or text.
        first_image: number of the truth's first image in the detections; none: told by the numbers that occur.

    Raises:
        SourceError: a file that cannot be read, or a detection in an image that is not in the truth.
    """
    known = read_truth(truth)
    found, warnings = read_detections(detections, known, first_image)
    unseen = sum(
        int((~missrate.to_ignore(own, Setting())).sum())
        for own, one in zip(known.objects, found, strict=True)
        if not len(one.scores)
    )
    if unseen:
        warnings.append(
            f"{unseen} objects are in images without a detection: misses, which the common Python port forgets"
        )
    matched = [missrate.match(*both, Setting()) for both in zip(known.objects, found, strict=True)]
    parts = {
        "all": matched,
        "day": [own for own, night in zip(matched, known.night, strict=True) if not night],
        "night": [own for own, night in zip(matched, known.night, strict=True) if night],
    }
    figures = {name: 100 * missrate.log_average(own) for name, own in parts.items()}
    figures["recall"] = 100 * missrate.recall(matched)
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}, warnings


def read_truth(path: Path) -> Truth:
    """Read annotations; those that are not of persons are to be ignored.

    Raises:
        SourceError: not such a file, or an annotation that is off.
    """
    document = _json(path, TRUTH_FORM)
    try:
        categories = {int(row["id"]): str(row["name"]) for row in document["categories"]}
        images = {int(row["id"]): str(row.get("im_name") or row.get("file_name") or "") for row in document["images"]}
        annotations = list(document["annotations"])
        if len(images) != len(document["images"]):
            raise SourceError(f"{path}: an image id occurs twice in `images`", TRUTH_FORM)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"{path}: not KAIST's annotations ({type(error).__name__}: {error})", TRUTH_FORM) from error
    if not images:
        raise SourceError(f"{path}: no images in it", TRUTH_FORM)
    rows: dict[int, list[tuple[tuple[float, ...], int, bool, float]]] = defaultdict(list)
    for number, row in enumerate(annotations):
        image, own = _annotation(row, categories, f"{path}: annotation {number}")
        if image not in images:
            raise SourceError(f"{path}: annotation {number} is of image {image}, which is not in `images`", TRUTH_FORM)
        rows[image].append(own)
    ids = tuple(sorted(images))
    night = tuple(_is_night(images[one], f"{path}: image {one}") for one in ids)
    return Truth(ids, tuple(_objects(rows[one]) for one in ids), night, categories)


def read_detections(
    path: Path, truth: Truth, first_image: int | None = None
) -> tuple[tuple[Detections, ...], list[str]]:
    """Read the detections of each image of the truth, in its order, and what is odd about them.

    Text has a detection a line, its six columns parted by commas, semicolons, tabs or blanks. JSON is COCO's list of
    results. Text counts images from 1 as a rule, JSON as the truth does; where the numbers that occur fit one count
    only, that one is taken.

    Args:
        path: a name that ends in .json is JSON, any other is text.
        truth: what was to be found.
        first_image: number of the truth's first image; none: see above.

    Raises:
        SourceError: a line that is off, no detections, or an image that is not in the truth.
    """
    is_json = path.suffix.lower() == ".json"
    rows = _json_rows(path, truth.categories) if is_json else _text_rows(path)
    if not rows:
        raise SourceError(f"{path}: no detections in it", f"A line or entry each: {COLUMNS}.")
    shift = _shift(path, rows, truth, is_json) if first_image is None else truth.ids[0] - first_image
    places = {one: place for place, one in enumerate(truth.ids)}
    by_image: list[list[Row]] = [[] for _ in truth.ids]
    for row in rows:
        place = places.get(row.image + shift)
        if place is None:
            raise _unknown_image(path, row, truth, shift)
        by_image[place].append(row)
    empty = sum(min(row.box_px[2:]) <= 0 for row in rows)
    warnings = [f"{path}: {empty} boxes without area; they can find nothing"] if empty else []
    return tuple(_detections(own) for own in by_image), warnings


def _shift(path: Path, rows: Sequence[Row], truth: Truth, is_json: bool) -> int:
    """Return what to add to the file's image numbers."""
    numbers = {row.image for row in rows}
    from_one = truth.ids[0] - 1
    fits = [shift for shift in dict.fromkeys((0, from_one)) if numbers <= {one - shift for one in truth.ids}]
    usual = 0 if is_json else from_one
    if fits:
        return usual if usual in fits else fits[0]
    # No count fits: the error is told in the usual one.
    return usual


def _unknown_image(path: Path, row: Row, truth: Truth, shift: int) -> SourceError:
    first, last = truth.ids[0] - shift, truth.ids[-1] - shift
    return SourceError(
        f"{path}: {row.where}: image {row.image} is not in the truth, whose {len(truth.ids)} images are {first} to "
        f"{last} here",
        "Give the detections of these annotations; --first-image 0 or 1 says what the first image's number is.",
    )


def _text_rows(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        where, fields = f"line {number}", _fields(text)
        if len(fields) != 6:
            raise SourceError(
                f"{path}: {where} has {len(fields)} columns: {text[:80]!r}", f"Six are wanted: {COLUMNS}."
            )
        rows.append(_row(path, where, fields[0], fields[1:5], fields[5]))
    return rows


def _fields(text: str) -> list[str]:
    mark = next((mark for mark in ",;\t" if mark in text), "")
    return [field.strip() for field in next(csv.reader([text], delimiter=mark))] if mark else text.split()


def _json_rows(path: Path, categories: dict[int, str]) -> list[Row]:
    form = "Give COCO results: a list of {image_id, category_id, bbox: [x, y, width, height], score}."
    document = _json(path, form)
    if not isinstance(document, list):
        raise SourceError(f"{path}: a JSON {type(document).__name__}, not a list", form)
    rows = []
    for number, entry in enumerate(document):
        where = f"entry {number}"
        try:
            category = entry.get("category_id")
            image, box, score = entry["image_id"], list(entry["bbox"]), entry["score"]
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{path}: {where} lacks {error}", form) from error
        if category is not None and category not in categories:
            known = ", ".join(f"{one} {name}" for one, name in categories.items())
            raise SourceError(f"{path}: {where}: unknown category_id {category!r}", f"The truth has {known}.")
        if len(box) != 4:
            raise SourceError(f"{path}: {where}: bbox has {len(box)} numbers", form)
        if category is None or categories[category] == PERSON:
            rows.append(_row(path, where, image, box, score))
    return rows


def _row(path: Path, where: str, image: Any, box: Sequence[Any], score: Any) -> Row:
    try:
        number, values = float(image), [float(value) for value in (*box, score)]
    except (TypeError, ValueError) as error:
        raise SourceError(f"{path}: {where}: {error}", f"Numbers are wanted: {COLUMNS}.") from error
    if not number.is_integer():
        raise SourceError(f"{path}: {where}: image {image} is not a whole number", f"Columns are {COLUMNS}.")
    if not np.isfinite(values).all():
        raise SourceError(f"{path}: {where}: a value that is not finite in {values}", f"Columns are {COLUMNS}.")
    x, y, width, height, sure = values
    return Row(where, int(number), (x, y, width, height), sure)


def _annotation(
    row: Any, categories: dict[int, str], where: str
) -> tuple[int, tuple[tuple[float, ...], int, bool, float]]:
    try:
        box = tuple(float(value) for value in row["bbox"])
        category = categories[row["category_id"]]
        height = float(row.get("height", box[3]))
        ignore = bool(row.get("ignore", 0)) or category != PERSON
        own = (box, int(row.get("occlusion", 0)), ignore, height)
        image = int(row["image_id"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SourceError(f"{where}: {type(error).__name__} {error}", TRUTH_FORM) from error
    if len(box) != 4 or not np.isfinite([*box, height]).all():
        raise SourceError(f"{where}: bbox {list(box)} is not four finite numbers", TRUTH_FORM)
    return image, own


def _objects(rows: Sequence[tuple[tuple[float, ...], int, bool, float]]) -> Objects:
    return Objects(
        np.array([row[0] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], bool),
        np.array([row[3] for row in rows], np.float64),
    )


def _detections(rows: Sequence[Row]) -> Detections:
    boxes = np.array([row.box_px for row in rows], np.float64).reshape(-1, 4)
    return Detections(boxes, np.array([row.score for row in rows], np.float64))


def _is_night(name: str, where: str) -> bool:
    found = re.search(r"set(\d\d)", name)
    if not found:
        raise SourceError(f"{where}: its name {name!r} does not tell the set, and so not day or night", TRUTH_FORM)
    return int(found[1]) in NIGHT_SETS


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path}: cannot be read ({error})", f"Give text with a detection a line: {COLUMNS}."
        ) from error


def _json(path: Path, form: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not JSON that can be read ({error})", form) from error
