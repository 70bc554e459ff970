"""RoadScene (Xu et al., AAAI 2020): aligned visible and LWIR road scenes cut from FLIR's video, without boxes.

The two modalities lie in two folders under equal names, ours (`visible`, `lwir`) or upstream's (`crop_LR_visible`,
`cropinfrared`). Files bear the frame numbers of the recording: a run of numbers without a large gap counts as one
video and has one split. The time of day is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from irgen import images
from irgen.errors import SourceError
from irgen.records import Frame, Reject
from irgen.settings import FramesSettings
from irgen.sources import listing, splits
from irgen.sources.inputs import Inputs
from irgen.sources.reading import Labels, Listed, frames, unannotated

LAYOUT = "folders `visible` and `lwir` (or `crop_LR_visible` and `cropinfrared`) with images of equal names"
FOLDERS = {"visible": ("visible", "crop_LR_visible"), "lwir": ("lwir", "cropinfrared")}
RUN_GAP = 60
"""Frame numbers between neighbours of one run: about two seconds of the recording."""


def inputs(settings: FramesSettings, root: Path) -> Inputs:
    """Name what `read` reads."""
    return Inputs(root, (root / path for _, path in _image_files(settings, root)))


def read(settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]:
    """Yield frames sorted by id (the file's stem), and rejects.

    Raises:
        SourceError: no such folders, or annotations were asked for.
    """
    found: dict[str, dict[str, str]] = {}
    for modality, path in _image_files(settings, root):
        frame_id = PurePosixPath(path).stem
        other = found.setdefault(frame_id, {}).setdefault(modality, path)
        if other != path:
            yield Reject(frame_id, path, "duplicate_image", f"the frame has {other} already")
    ids, missing = listing.restrict(found, settings.image_sets)
    yield from missing
    run_of = splits.runs(ids, RUN_GAP)
    frames_of = Counter(run_of.values())
    split_of = splits.three_way(frames_of, dict.fromkeys(frames_of, ""), settings.val_fraction, settings.test_fraction)
    listed = [Listed(name, split_of[run_of[name]], "", run_of[name], "", "road", **found[name]) for name in ids]
    yield from frames("roadscene", root, listed, unannotated, Labels({}))


def _image_files(settings: FramesSettings, root: Path) -> Iterator[tuple[str, str]]:
    """Yield modality and path relative to the root."""
    listing.refuse_annotations(settings)
    listing.existing_folder(root, LAYOUT)
    folders = [(modality, name) for modality, names in FOLDERS.items() for name in names if (root / name).is_dir()]
    if not folders:
        raise SourceError(f"{root}: has none of the folders of RoadScene", f"Expected {LAYOUT}.")
    for modality, name in folders:
        for inside in listing.files_below(root / name, images.SUFFIXES):
            yield modality, f"{name}/{inside}"
