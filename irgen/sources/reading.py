"""From what an adapter lists to frames and rejects: images are decoded, annotations read, boxes checked."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from irgen import images, progress
from irgen.records import Box, Frame, Reject, Split, Time
from irgen.sources.annotation_files import Annotation, BadAnnotationError

REASONS = (
    "truncated_image",
    "unreadable_image",
    "empty_image",
    "oversized_image",
    "size_mismatch",
    "duplicate_image",
    "no_annotation",
    "bad_annotation",
    "duplicate_annotation",
    "unknown_class",
    "box_outside",
    "missing_listed",
    "unknown_set",
    "bad_name",
    "unsafe_name",
)
"""Every word that a reject's reason can be."""

THREADS = min(8, os.cpu_count() or 1)
AHEAD = 8 * THREADS
"""Frames whose images are read ahead; what bounds the memory."""

DEFAULT_WIDTH_PX, DEFAULT_HEIGHT_PX = 640, 512


@dataclass(frozen=True, slots=True)
class Listed:
    """A frame as an adapter finds it, before its files are opened; the fields are those of `Frame`."""

    id: str
    split: Split
    set: str
    video: str
    time: Time
    place: str
    visible: str = ""
    lwir: str = ""

    @property
    def paths(self) -> dict[str, str]:
        """Modality -> path relative to the root, of what is there."""
        return {name: path for name, path in (("visible", self.visible), ("lwir", self.lwir)) if path}


@dataclass(frozen=True)
class Labels:
    """What a source's labels mean.

    Attributes:
        names: label as the source writes it (lower case) -> as irgen spells it; others are rejected.
        ignored: labels, as irgen spells them, whose boxes are marked ignore.
    """

    names: Mapping[str, str]
    ignored: frozenset[str] = frozenset()


def frames(
    source: str,
    root: Path,
    listed: Sequence[Listed],
    annotation_of: Callable[[str], Annotation | None],
    labels: Labels,
) -> Iterator[Frame | Reject]:
    """Yield, in the order of `listed`, each frame or the one reason why it is not taken, and rejects of single boxes.

    Args:
        source: name of the adapter.
        root: the folder that the listed paths are relative to.
        listed: frames without any image are taken from their annotation alone.
        annotation_of: frame id -> annotation, or None; raises BadAnnotationError.
        labels: of the annotations.
    """
    with progress.bar(f"{source} frames", len(listed)) as advance:
        for item, checks in _checked(root, listed):
            yield from _one(source, item, checks, annotation_of, labels)
            advance(1)


def unannotated(frame_id: str) -> Annotation:
    """Stand for the annotation in a source that has none."""
    return Annotation("", ())


def _checked(root: Path, listed: Sequence[Listed]) -> Iterator[tuple[Listed, dict[str, Future[images.Checked]]]]:
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[tuple[Listed, dict[str, Future[images.Checked]]]] = deque()
        for item in listed:
            checks = {name: pool.submit(images.check, root / path) for name, path in item.paths.items()}
            waiting.append((item, checks))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting


def _one(
    source: str,
    item: Listed,
    checks: Mapping[str, Future[images.Checked]],
    annotation_of: Callable[[str], Annotation | None],
    labels: Labels,
) -> Iterator[Frame | Reject]:
    found: dict[str, images.Checked] = {}
    for path in item.paths.values():
        if not _is_text(path):
            yield Reject(item.id, path, "bad_name", "its name is no UTF-8")
            return
    for modality, check in checks.items():
        try:
            found[modality] = check.result()
        except images.BadImageError as error:
            yield Reject(item.id, item.paths[modality], error.reason, error.detail)
            return
    path = item.lwir or item.visible
    try:
        annotation = annotation_of(item.id)
    except BadAnnotationError as error:
        yield Reject(item.id, error.path or path, "bad_annotation", str(error))
        return
    if annotation is None:
        yield Reject(item.id, path, "no_annotation", "the image has no annotation")
        return
    sizes = _sizes(found, annotation)
    if len(set(sizes.values())) > 1:
        detail = ", ".join(f"{name} {width}x{height}" for name, (width, height) in sizes.items())
        yield Reject(item.id, path, "size_mismatch", detail)
        return
    width_px, height_px = next(iter(sizes.values()), (DEFAULT_WIDTH_PX, DEFAULT_HEIGHT_PX))
    boxes: list[Box] = []
    for number, box in enumerate(annotation.boxes, 1):
        checked = _box(box, width_px, height_px, labels)
        if isinstance(checked, Box):
            boxes.append(checked)
        else:
            yield replace(checked, item=f"{item.id}#{number}", path=annotation.path)
    hashes = {modality: check.sha256 for modality, check in found.items()}
    yield Frame(
        id=item.id,
        source=source,
        split=item.split,
        set=item.set,
        video=item.video,
        time=item.time,
        place=item.place,
        visible=item.visible,
        lwir=item.lwir,
        visible_sha256=hashes.get("visible", ""),
        lwir_sha256=hashes.get("lwir", ""),
        width_px=width_px,
        height_px=height_px,
        boxes=tuple(boxes),
    )


def _is_text(path: str) -> bool:
    """Say whether a path can be written down; names of files are bytes, of which Python makes lone surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sizes(found: Mapping[str, images.Checked], annotation: Annotation) -> dict[str, tuple[int, int]]:
    sizes = {name: (checked.width_px, checked.height_px) for name, checked in found.items()}
    if annotation.width_px > 0 and annotation.height_px > 0:
        sizes["annotation"] = (annotation.width_px, annotation.height_px)
    return sizes


def _box(box: Box, width_px: int, height_px: int, labels: Labels) -> Box | Reject:
    """Name and clip a box, or say why it is not taken."""
    label = labels.names.get(box.label.lower())
    if label is None:
        return Reject(
            "", "", "unknown_class", f"{box.label!r} is none of {', '.join(sorted(set(labels.names.values())))}"
        )
    left, top = max(box.x_px, 0.0), max(box.y_px, 0.0)
    right, bottom = min(box.x_px + box.w_px, float(width_px)), min(box.y_px + box.h_px, float(height_px))
    if box.w_px <= 0 or box.h_px <= 0 or left >= right or top >= bottom:
        where = f"x {box.x_px:g}, y {box.y_px:g}, w {box.w_px:g}, h {box.h_px:g}"
        return Reject("", "", "box_outside", f"{label} at {where} covers nothing of {width_px}x{height_px}")
    ignore = box.ignore or label in labels.ignored
    inside = box.x_px >= 0 and box.y_px >= 0 and box.x_px + box.w_px <= width_px and box.y_px + box.h_px <= height_px
    w, h = (box.w_px, box.h_px) if inside else (right - left, bottom - top)
    return Box(label, left, top, w, h, box.occlusion, ignore)
