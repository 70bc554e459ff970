"""A plain folder of LWIR images, searched below, without boxes.

Images of one subfolder count as one video. Where there are too few subfolders to make three splits, ten blocks of
consecutive names do, so that only frames at the blocks' seams have neighbours in another split. Folders that are named
train, val and test, at least two of these, are taken at their word.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from irgen import images
from irgen.records import Frame, Reject, Split
from irgen.settings import FramesSettings
from irgen.sources import listing, splits
from irgen.sources.inputs import Inputs
from irgen.sources.reading import Labels, Listed, frames, unannotated

LAYOUT = "a folder of images, in subfolders or not"
MIN_FOLDERS = 3


def inputs(settings: FramesSettings, root: Path) -> Inputs:
    """Name what `read` reads."""
    return Inputs(root, (root / path for path in _image_files(settings, root)))


def read(settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]:
    """Yield frames sorted by id (the path without its suffix), and rejects.

    Raises:
        SourceError: no such folder, or annotations were asked for.
    """
    found: dict[str, str] = {}
    for path in _image_files(settings, root):
        frame_id = str(path.with_suffix(""))
        other = found.setdefault(frame_id, str(path))
        if other != str(path):
            yield Reject(frame_id, str(path), "duplicate_image", f"the frame has {other} already")
    ids, missing = listing.restrict(found, settings.image_sets)
    yield from missing
    given = _given(ids)
    groups: dict[str, list[str]] = defaultdict(list)
    for frame_id in ids:
        groups[given.get(frame_id, "")].append(frame_id)
    video_of: dict[str, str] = {}
    for split, members in groups.items():
        video_of |= _videos(members, f"{split}/" if split else "")
    frames_of = Counter(video_of.values())
    strata, fractions = dict.fromkeys(frames_of, ""), (settings.val_fraction, settings.test_fraction)
    if given:
        said = {video_of[frame_id]: split for frame_id, split in given.items()}
        split_of = splits.completed(said, frames_of, strata, *fractions)
    else:
        split_of = splits.three_way(frames_of, strata, *fractions)
    listed = [Listed(name, split_of[video_of[name]], "", video_of[name], "", "", lwir=found[name]) for name in ids]
    yield from frames("folder", root, listed, unannotated, Labels({}))


def _image_files(settings: FramesSettings, root: Path) -> Iterator[PurePosixPath]:
    listing.refuse_annotations(settings)
    return listing.files_below(listing.existing_folder(root, LAYOUT), images.SUFFIXES)


def _given(ids: Sequence[str]) -> dict[str, Split]:
    """Return the splits that the names of folders say; none where not every frame has one, or all the same."""
    said = {
        frame_id: split
        for frame_id in ids
        for part in reversed(PurePosixPath(frame_id).parts[:-1])
        if (split := splits.named(part))
    }
    return said if len(said) == len(ids) and len(set(said.values())) > 1 else {}


def _videos(ids: Sequence[str], of: str) -> dict[str, str]:
    folder_of = {frame_id: str(PurePosixPath(frame_id).parent) for frame_id in ids}
    return folder_of if len(set(folder_of.values())) >= MIN_FOLDERS else splits.blocks(ids, of)
