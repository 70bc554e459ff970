"""KAIST Multispectral Pedestrian (Hwang et al., CVPR 2015), and whatever has its layout.

Images lie as `setXX/VYYY/{visible,lwir}/IZZZZZ.jpg`, below `images/` or not. Annotations come from one folder or
archive only, so that old and improved labels never mix: the one that the settings name, or the best beside the
images. An image that it does not cover is rejected; an annotation without an image is merely not used, since archives
of all annotations are often used with a part of the images.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from irgen import images
from irgen.errors import SourceError
from irgen.records import Frame, Reject, Split, Time
from irgen.settings import FramesSettings
from irgen.sources import annotation_files, listing, splits
from irgen.sources.annotation_files import AnnotationSet
from irgen.sources.inputs import Inputs
from irgen.sources.reading import Labels, Listed, frames

log = logging.getLogger(__name__)

LAYOUT = "setXX/VYYY/{visible,lwir}/I*.jpg in it, or in a folder `images` in it"
LABELS = {
    "person": "person",
    "people": "people",
    "cyclist": "cyclist",
    "person?": "person?",
    "person?a": "person?",
}
SETS: dict[str, tuple[Time, str]] = {
    "set00": ("day", "campus"),
    "set01": ("day", "road"),
    "set02": ("day", "downtown"),
    "set03": ("night", "campus"),
    "set04": ("night", "road"),
    "set05": ("night", "downtown"),
    "set06": ("day", "campus"),
    "set07": ("day", "road"),
    "set08": ("day", "downtown"),
    "set09": ("night", "campus"),
    "set10": ("night", "road"),
    "set11": ("night", "downtown"),
}
TEST_SETS = frozenset({"set06", "set07", "set08", "set09", "set10", "set11"})
PREFERENCE = (("improved", "sanitized", "sanitised", "paired"), ("new",), ("",), ("original",))
"""Words in an annotation folder's name, the better labels first; "" is any other name."""

_SET = re.compile(r"set\d{2}")
_IMAGE = re.compile(r"(set\d{2})/(V\d{3})/(visible|lwir)/(I\d+)\.\w+")


def images_folder(root: Path) -> Path:
    """Return the folder that holds setXX.

    Raises:
        SourceError: there is none.
    """
    listing.existing_folder(root, LAYOUT)
    for folder in (root / "images", root):
        if _set_folders(folder):
            return folder
    raise SourceError(f"{root}: no folder setXX in it or in its `images`", f"Expected {LAYOUT}.")


def annotations_source(settings: FramesSettings, root: Path) -> Path:
    """Return the folder or archive of annotations: the one named, or the best that lies beside the images.

    Raises:
        SourceError: none is named and none lies there.
    """
    if settings.annotations:
        return annotation_files.existing(Path(settings.annotations).expanduser())
    folders = [root, root.resolve().parent] if root.resolve().name == "images" else [root]
    found = [
        path
        for folder in folders
        for path in listing.existing_folder(folder, LAYOUT).iterdir()
        if path.name.lower().startswith("annotation") and (path.is_dir() or annotation_files.is_archive(path))
    ]
    if not found:
        raise SourceError(
            f"{root}: no folder or archive `annotations*` beside the images", "Name it: --annotations PATH."
        )
    return min(found, key=lambda path: (_rank(path.name), annotation_files.is_archive(path), path.name))


def inputs(settings: FramesSettings, root: Path) -> Inputs:
    """Name what `read` reads."""
    folder = root if settings.annotations_only else images_folder(root)
    paths = None if settings.annotations_only else (folder / inside for inside in _image_files(folder))
    return Inputs(folder, paths, annotations_source(settings, root))


def read(
    settings: FramesSettings, root: Path, source: str = "kaist", labels: Mapping[str, str] = LABELS
) -> Iterator[Frame | Reject]:
    """Yield frames sorted by id, and rejects.

    Args:
        settings: of the frames.
        root: the folder of images, or the one above; not needed with annotations only.
        source: name of the source, for the frames.
        labels: as the annotations spell them -> as irgen does.

    Raises:
        SourceError: no such folders, or not of this layout.
    """
    annotated = annotation_files.open_set(annotations_source(settings, root))
    log.info("%s: annotations from %s (%d files)", source, annotated.source, len(annotated.files))
    yield from annotated.rejects
    if settings.annotations_only:
        found: dict[str, dict[str, str]] = {frame_id: {} for frame_id in annotated.files}
    else:
        found = yield from _find_images(root)
        _say_unused(source, annotated, found)
    ids, missing = listing.restrict(found, settings.image_sets)
    yield from missing
    known = [frame_id for frame_id in ids if frame_id[:5] in SETS]
    for frame_id in sorted(set(ids) - set(known)):
        yield Reject(
            frame_id, next(iter(found[frame_id].values()), ""), "unknown_set", "KAIST's sets are set00 to set11"
        )
    split_of = _split_videos(known, settings.val_fraction)
    listed = [_listed(frame_id, split_of, found[frame_id]) for frame_id in known]
    yield from frames(source, root, listed, annotated.of, Labels(labels, frozenset(settings.ignore_labels)))


def _set_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _SET.fullmatch(path.name) and path.is_dir())


def _image_files(folder: Path) -> Iterator[str]:
    for set_folder in _set_folders(folder):
        for inside in listing.files_below(set_folder, images.SUFFIXES):
            yield f"{set_folder.name}/{inside}"


def _find_images(root: Path) -> Generator[Reject, None, dict[str, dict[str, str]]]:
    """Yield rejects; return frame id -> modality -> path relative to the root."""
    folder = images_folder(root)
    above = "" if folder == root else f"{folder.name}/"
    found: dict[str, dict[str, str]] = {}
    for inside in _image_files(folder):
        match = _IMAGE.fullmatch(inside)
        if match is None:
            yield Reject(inside, above + inside, "bad_name", "not setXX/VYYY/{visible,lwir}/I*")
            continue
        frame_id, modality = f"{match[1]}/{match[2]}/{match[4]}", match[3]
        other = found.setdefault(frame_id, {}).setdefault(modality, above + inside)
        if other != above + inside:
            yield Reject(frame_id, above + inside, "duplicate_image", f"the frame has {other} already")
    return found


def _say_unused(source: str, annotated: AnnotationSet, found: Mapping[str, object]) -> None:
    unused = sum(frame_id not in found for frame_id in annotated.files)
    if unused:
        log.info("%s: %d annotations in %s are of frames without an image: not used", source, unused, annotated.name)


def _split_videos(ids: list[str], val_fraction: float) -> dict[str, Split]:
    frames_of = Counter(_video(frame_id) for frame_id in ids)
    train = {video: count for video, count in frames_of.items() if video[:5] not in TEST_SETS}
    times = {video: SETS[video[:5]][0] for video in train}
    val = splits.hold_out(train, val_fraction, "val", times)
    return {video: "test" if video not in train else "val" if video in val else "train" for video in frames_of}


def _listed(frame_id: str, split_of: Mapping[str, Split], paths: Mapping[str, str]) -> Listed:
    video = _video(frame_id)
    time, place = SETS[video[:5]]
    visible, lwir = paths.get("visible", ""), paths.get("lwir", "")
    return Listed(frame_id, split_of[video], video[:5], video, time, place, visible, lwir)


def _video(frame_id: str) -> str:
    return frame_id.rpartition("/")[0]


def _rank(name: str) -> int:
    for rank, words in enumerate(PREFERENCE):
        if any(word and word in name.lower() for word in words):
            return rank
    return PREFERENCE.index(("",))
