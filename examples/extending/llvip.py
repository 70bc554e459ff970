"""LLVIP (Jia et al., ICCV workshops 2021): aligned visible and LWIR street scenes by low light, with people boxed.

The two modalities lie under equal names in `visible/{train,test}` and `infrared/{train,test}`, the boxes as VOC's XML
in `Annotations`. The first two digits of a name number the place of the camera: a place's frames count as one video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from irgen import images
from irgen.records import Frame, Reject, Split
from irgen.settings import FramesSettings
from irgen.sources import annotation_files, listing, splits
from irgen.sources.annotation_files import Annotation
from irgen.sources.inputs import Inputs
from irgen.sources.reading import Labels, Listed, frames

VERSION = 1
"""Raise it when this file means something else: what was made with it is then made anew."""

LAYOUT = "folders `visible` and `infrared`, each with `train` and `test`, and `Annotations`"
FOLDERS = {"visible": "visible", "lwir": "infrared"}
LABELS = {"person": "person"}


def inputs(settings: FramesSettings, root: Path) -> Inputs:
    """Name what `read` reads, so that a change of it is noticed."""
    return Inputs(root, (root / path for _, path in _image_files(root)), _annotations(settings, root))


def read(settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]:
    """Yield frames sorted by id (the file's stem), and a reject for everything that is not taken.

    Raises:
        SourceError: no such folders.
    """
    found: dict[str, dict[str, str]] = {}
    for modality, path in _image_files(root):
        frame_id = PurePosixPath(path).stem
        other = found.setdefault(frame_id, {}).setdefault(modality, path)
        if other != path:
            yield Reject(frame_id, path, "duplicate_image", f"the frame has {other} already")
    ids, missing = listing.restrict(found, settings.image_sets)
    yield from missing
    video_of = {name: _video(next(iter(found[name].values()))) for name in ids}
    split_of = _splits(Counter(video_of.values()), settings.val_fraction)
    listed = [Listed(name, split_of[video_of[name]], "", video_of[name], "", "road", **found[name]) for name in ids]
    folder = _annotations(settings, root)

    def annotation_of(frame_id: str) -> Annotation | None:
        name = f"{frame_id}.xml"
        return annotation_files.read_file(folder / name, name) if (folder / name).exists() else None

    yield from frames("llvip", root, listed, annotation_of, Labels(LABELS, frozenset(settings.ignore_labels)))


def _annotations(settings: FramesSettings, root: Path) -> Path:
    named = Path(settings.annotations).expanduser() if settings.annotations else root / "Annotations"
    return listing.existing_folder(named, LAYOUT)


def _image_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield modality and path relative to the root."""
    for modality, name in FOLDERS.items():
        for inside in listing.files_below(listing.existing_folder(root / name, LAYOUT), images.SUFFIXES):
            yield modality, f"{name}/{inside}"


def _video(path: str) -> str:
    """Return split and place of a frame, "train/01" of visible/train/010001.jpg."""
    parts = PurePosixPath(path).parts
    return f"{parts[1]}/{parts[-1][:2]}"


def _splits(frames_of: Counter[str], val_fraction: float) -> dict[str, Split]:
    """Keep the official test set, and hold some places of the training set out for calibration."""
    train = {video: count for video, count in frames_of.items() if not video.startswith("test/")}
    val = splits.hold_out(train, val_fraction, "val", dict.fromkeys(train, ""))
    return {video: "test" if video not in train else "val" if video in val else "train" for video in frames_of}
