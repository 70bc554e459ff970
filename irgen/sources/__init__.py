"""Where frames come from: one adapter a source, each a module with `inputs` and `read`.

docs/extending.md tells how to add one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from irgen import digests, extensions, store
from irgen.errors import SourceError
from irgen.records import Frame, Reject
from irgen.settings import FramesSettings, parse
from irgen.sources import folder, hit_uav, kaist, miniature, roadscene
from irgen.sources.inputs import Inputs

MINIATURE_RAW = "raw"
"""Folder, in the frames stage's output, of the scenes that the miniature draws."""


class Adapter(Protocol):
    """What a source's module has.

    `read` yields frames sorted by id, with paths relative to `root`, and a reject for everything that it does not
    take. `inputs` names the files that it reads. One of another package also has `VERSION`, to be raised when its
    code means something else.
    """

    def read(self, settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]: ...  # noqa: D102

    def inputs(self, settings: FramesSettings, root: Path) -> Inputs: ...  # noqa: D102


ADAPTERS: dict[str, Adapter] = {
    "kaist": kaist,
    "roadscene": roadscene,
    "hit-uav": hit_uav,
    "folder": folder,
    "miniature": miniature,
}


def adapter(source: str) -> Adapter:
    """Return the adapter of a source.

    Raises:
        SettingsError: it is of a package that is not installed.
    """
    if source in ADAPTERS:
        return ADAPTERS[source]
    brought: Adapter = extensions.load(extensions.SOURCES, source)
    return brought


def read(settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]:
    """Yield a source's frames, sorted by id, and its rejects, in bounded memory.

    Args:
        settings: which source, and how.
        root: folder of its raw data.

    Raises:
        SourceError: the folder is not what the source expects.
        SettingsError: an option that the source does not have.
    """
    return adapter(settings.source).read(settings, root)


def annotations_name(settings: FramesSettings, root: Path) -> str:
    """Return the name of the annotations that `read` takes, "" where the source has none."""
    taken = adapter(settings.source).inputs(settings, root).annotations
    return taken.name if taken else ""


def external_digests(settings: FramesSettings) -> dict[str, str]:
    """Digest what a source reads: images as `raw`, `annotations`, `image_sets`; nothing for the miniature.

    An adapter of another package is named with its version, as `source`.
    """
    found = adapter(settings.source).inputs(settings, raw_root(settings, Path())).digests()
    if settings.source not in ADAPTERS:
        found["source"] = f"{settings.source} {extensions.load(extensions.SOURCES, settings.source).VERSION}"
    lists = [Path(path).expanduser() for path in settings.image_sets]
    for path in lists:
        if not path.is_file():
            raise SourceError(f"{path}: no such list of frame ids", "Mend `image_sets`.")
    if lists:
        found["image_sets"] = " ".join(digests.digest(path) for path in lists)
    return found


def raw_root(settings: FramesSettings, frames_folder: Path) -> Path:
    """Return the folder of raw data: the one that the settings name, or where the miniature's scenes are drawn."""
    return frames_folder / MINIATURE_RAW if settings.source == "miniature" else Path(settings.root).expanduser()


def root_of(frames_folder: Path) -> Path:
    """Return the folder that the paths in a frames stage's output are relative to.

    Raises:
        StoreError: the output is not finished, or damaged.
        SettingsError: the frames are of a package's source that is not installed here.
        SourceError: the frames were made from annotations alone, or the folder is gone.
    """
    settings = parse(FramesSettings, store.read_manifest(frames_folder)["settings"]["frames"], str(frames_folder))
    root = raw_root(settings, frames_folder)
    if settings.annotations_only:
        raise SourceError(f"{frames_folder}: its frames have no images", "Make frames without `annotations_only`.")
    if not root.is_dir():
        raise SourceError(f"{root}: the raw data of {frames_folder} is gone", "Put it back, or change `frames.root`.")
    return root
