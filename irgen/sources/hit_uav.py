"""HIT-UAV (Suo et al., Scientific Data 2023): LWIR from a drone, with boxes in COCO-like JSON.

A file name says time_altitude_angle_weather_number, time 0 by day and 1 by night. Frames of one date and one setting of
the first four are one recording. The official split draws single frames and so puts neighbours on both sides: folders
are taken at their word only where no recording is in two of them, else recordings are split anew. Frames with other
names, a team's own in this layout, tell nothing of recordings: their folders are taken at their word, and blocks of
consecutive names count as recordings.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from irgen import files, images
from irgen.errors import SourceError
from irgen.records import Box, Frame, Reject, Split, Time
from irgen.settings import FramesSettings
from irgen.sources import listing, splits
from irgen.sources.annotation_files import MAX_SIDE_PX, Annotation, BadAnnotationError
from irgen.sources.inputs import Inputs
from irgen.sources.reading import Labels, Listed, frames

LAYOUT = "annotations/{train,val,test}.json and the images in images/{train,val,test} or {train,val,test}"
LABELS = {"person": "person", "car": "car", "bicycle": "cyclist", "othervehicle": "vehicle", "dontcare": "dontcare"}
ALWAYS_IGNORED = frozenset({"dontcare"})
TIMES: dict[str, Time] = {"0": "day", "1": "night"}
MAX_JSON_BYTES = 256 << 20
"""The largest file of HIT-UAV has 5 MB."""
MAX_PX = 1e6
NAME = re.compile(r"[01]_\d+_\d+_[^_]+_\d+")
"""Of a frame of HIT-UAV itself."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass
class _Entry:
    """What the JSON says of one frame."""

    file: str
    folder: str
    width_px: int
    height_px: int
    date: str
    boxes: list[Box] = field(default_factory=list)
    problem: str = ""


def inputs(settings: FramesSettings, root: Path) -> Inputs:
    """Name what `read` reads."""
    folder = _annotations_folder(settings, root)
    paths = None if settings.annotations_only else (root / path for path in _image_files(root, folder))
    return Inputs(root, paths, folder)


def read(settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]:
    """Yield frames sorted by id (the file's stem), and rejects.

    Raises:
        SourceError: no such folder, or a JSON file that is not COCO-like.
    """
    folder = _annotations_folder(settings, root)
    entries: dict[str, _Entry] = {}
    for path in _json_files(folder):
        yield from _read_json(path, entries)
    paths: dict[str, str] = {}
    if not settings.annotations_only:
        paths = yield from _find_images(root, folder, entries)
    ids, missing = listing.restrict(entries if settings.annotations_only else paths, settings.image_sets)
    yield from missing
    folder_of = {frame_id: _folder(paths.get(frame_id, ""), entries.get(frame_id)) for frame_id in ids}
    video_of = _videos(ids, entries, folder_of)
    split_of = _split_videos(settings, video_of, folder_of)
    listed = [
        _listed(frame_id, split_of[video_of[frame_id]], video_of[frame_id], paths.get(frame_id, "")) for frame_id in ids
    ]

    def annotation_of(frame_id: str) -> Annotation | None:
        return _annotation(frame_id, entries.get(frame_id))

    labels = Labels(LABELS, ALWAYS_IGNORED | frozenset(settings.ignore_labels))
    yield from frames("hit-uav", root, listed, annotation_of, labels)


def _annotations_folder(settings: FramesSettings, root: Path) -> Path:
    if settings.annotations:
        path = Path(settings.annotations).expanduser()
        if not path.exists():
            raise SourceError(f"{path}: no such annotations", "Name the folder of train.json, val.json and test.json.")
        return path
    listing.existing_folder(root, LAYOUT)
    for folder in (root / "annotations", root / "normal_json" / "annotations"):
        if folder.is_dir():
            return folder
    raise SourceError(f"{root}: no folder `annotations` in it", f"Expected {LAYOUT}.")


def _json_files(folder: Path) -> list[Path]:
    found = [folder] if folder.is_file() else [folder / path for path in listing.files_below(folder, (".json",))]
    if not found:
        raise SourceError(f"{folder}: no .json in it", f"Expected {LAYOUT}.")
    return found


def _image_files(root: Path, annotations_folder: Path) -> list[str]:
    listing.existing_folder(root, LAYOUT)
    beside = annotations_folder.resolve().parent
    for folder in (root / "images", beside / "images", beside, root):
        if folder.is_dir() and folder.resolve().is_relative_to(root.resolve()):
            above = folder.resolve().relative_to(root.resolve()).as_posix()
            found = [str(PurePosixPath(above) / path) for path in listing.files_below(folder, images.SUFFIXES)]
            if found:
                return found
    raise SourceError(f"{root}: no images in it", f"Expected {LAYOUT}.")


def _find_images(root: Path, folder: Path, entries: Mapping[str, _Entry]) -> Generator[Reject, None, dict[str, str]]:
    """Yield rejects; return frame id -> path relative to the root."""
    paths: dict[str, str] = {}
    for path in _image_files(root, folder):
        frame_id = PurePosixPath(path).stem
        other = paths.setdefault(frame_id, path)
        if other != path:
            yield Reject(frame_id, path, "duplicate_image", f"the frame has {other} already")
    for frame_id in sorted(set(entries) - set(paths)):
        entry = entries[frame_id]
        yield Reject(frame_id, entry.file, "missing_listed", f"{entry.folder}.json names an image that is not there")
    return paths


def _read_json(path: Path, entries: dict[str, _Entry]) -> Iterator[Reject]:
    """Enter a file's frames and boxes into `entries`; yield rejects of what fits nowhere."""
    document = _document(path)
    names = {category.get("id"): str(category.get("name")) for category in _rows(document, "categories", path)}
    by_number: dict[Any, _Entry] = {}
    for row in _rows(document, "images", path):
        entry = _Entry(
            file=str(row.get("filename") or row.get("file_name") or ""),
            folder=path.stem,
            width_px=_integer(row.get("width")),
            height_px=_integer(row.get("height")),
            date=str(row.get("date_captured") or ""),
        )
        frame_id = PurePosixPath(entry.file).stem
        if not frame_id or row.get("id") is None or frame_id in entries:
            reason = "duplicate_annotation" if frame_id in entries else "bad_annotation"
            yield Reject(frame_id, path.name, reason, f"image entry {row.get('id')!r}, file {entry.file!r}")
            continue
        entries[frame_id] = by_number[row["id"]] = entry
    key = "annotation" if "annotation" in document else "annotations"
    for row in _rows(document, key, path):
        owner = by_number.get(row.get("image_id"))
        if owner is None:
            detail = f"box {row.get('id')!r} is of image {row.get('image_id')!r}, which is not listed"
            yield Reject(f"{path.stem}#{row.get('id')}", path.name, "bad_annotation", detail)
            continue
        try:
            owner.boxes.append(_box(row, names))
        except BadAnnotationError as error:
            owner.problem = owner.problem or str(error)


def _document(path: Path) -> dict[str, Any]:
    try:
        if not files.is_regular(path) or path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"not a regular file of at most {MAX_JSON_BYTES} bytes")
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: cannot be read as JSON ({error})", "Fetch it again.") from error
    if not isinstance(document, dict):
        raise SourceError(f"{path}: holds no object", "Expected COCO's keys images, annotations, categories.")
    return document


def _rows(document: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = document.get(key)
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise SourceError(
            f"{path}: `{key}` is not a list of objects with plain ids",
            "Expected COCO's keys images, annotations, categories.",
        )
    return cast(list[dict[str, Any]], rows)


def _is_row(row: Any) -> bool:
    """Say whether something is an object that names itself and others by words or numbers; a list names nothing."""
    names = ("id", "image_id", "category_id")
    return isinstance(row, dict) and not any(isinstance(row.get(name), dict | list) for name in names)


def _integer(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value <= MAX_SIDE_PX else 0


def _box(row: Mapping[str, Any], names: Mapping[Any, str]) -> Box:
    values = row.get("bbox")
    if not isinstance(values, list) or len(values) != 4:
        raise BadAnnotationError(f"box {row.get('id')!r}: bbox {values!r} is not [x, y, w, h]")
    if not all(isinstance(value, int | float) and abs(value) <= MAX_PX for value in values):
        raise BadAnnotationError(f"box {row.get('id')!r}: bbox {values!r} has no four numbers")
    x, y, w, h = (float(value) for value in values)
    label = names.get(row.get("category_id"), f"category {row.get('category_id')!r}")
    return Box(label, x, y, w, h, ignore=bool(row.get("iscrowd")))


def _annotation(frame_id: str, entry: _Entry | None) -> Annotation | None:
    if entry is None:
        return None
    if entry.problem:
        error = BadAnnotationError(entry.problem)
        error.path = f"{entry.folder}.json"
        raise error
    return Annotation(f"{entry.folder}.json", tuple(entry.boxes), entry.width_px, entry.height_px)


def _videos(ids: Sequence[str], entries: Mapping[str, _Entry], folder_of: Mapping[str, str]) -> dict[str, str]:
    if all(map(NAME.fullmatch, ids)):
        return {frame_id: _video(frame_id, entries.get(frame_id)) for frame_id in ids}
    found: dict[str, str] = {}
    for folder in sorted(set(folder_of.values())):
        found |= splits.blocks([frame_id for frame_id in ids if folder_of[frame_id] == folder], f"{folder}/")
    return found


def _video(frame_id: str, entry: _Entry | None) -> str:
    setting = frame_id.rpartition("_")[0] or frame_id
    return f"{entry.date}/{setting}" if entry and entry.date else setting


def _folder(path: str, entry: _Entry | None) -> str:
    above = PurePosixPath(path).parent.name
    return above if above in SPLITS else entry.folder if entry else ""


def _split_videos(
    settings: FramesSettings, video_of: Mapping[str, str], folder_of: Mapping[str, str]
) -> dict[str, Split]:
    frames_of = Counter(video_of.values())
    folders: dict[str, set[str]] = defaultdict(set)
    for frame_id, video in video_of.items():
        folders[video].add(folder_of[frame_id])
    times = {video: _time(video) for video in frames_of}
    is_sound = all(len(names) == 1 and names <= set(SPLITS) for names in folders.values())
    if not is_sound or len({name for names in folders.values() for name in names}) < 2:
        return splits.three_way(frames_of, times, settings.val_fraction, settings.test_fraction)
    given = {video: cast(Split, next(iter(names))) for video, names in folders.items()}
    return splits.completed(given, frames_of, times, settings.val_fraction, settings.test_fraction)


def _time(video: str) -> Time:
    return TIMES.get(video.rpartition("/")[2].partition("_")[0], "")


def _listed(frame_id: str, split: Split, video: str, path: str) -> Listed:
    return Listed(frame_id, split, video.partition("/")[0] if "/" in video else "", video, _time(video), "", lwir=path)
