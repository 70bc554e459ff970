"""Which files a source has, and which of its frames a list names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from irgen.errors import SettingsError, SourceError
from irgen.records import Reject
from irgen.settings import FramesSettings


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[PurePosixPath]:
    """Yield the files with one of the (lower-case) suffixes, relative to `folder`, in a fixed order.

    Hidden files and folders are left out. Links to folders are followed, each folder once: recordings often lie on
    several disks.

    Raises:
        SourceError: a folder cannot be read.
    """
    seen: set[str] = set()
    for here, subfolders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inside = PurePosixPath(Path(here).relative_to(folder).as_posix())
        for name in sorted(names):
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in suffixes:
                yield inside / name


def _unreadable(error: OSError) -> None:
    raise SourceError(f"{error.filename}: cannot be read ({error.strerror})", "Check its permissions.") from error


def existing_folder(path: Path, layout: str) -> Path:
    """Return `path`, a folder.

    Raises:
        SourceError: it is not there or is a file; `layout` says what belongs there.
    """
    if not path.is_dir():
        raise SourceError(f"{path}: {'is not a folder' if path.exists() else 'no such folder'}", f"Expected {layout}.")
    return path


def read_lists(paths: Iterable[str]) -> dict[str, str]:
    """Read list files, a frame id a line; return id -> the list that names it.

    Raises:
        SourceError: a list is missing, not text, or empty.
    """
    ids: dict[str, str] = {}
    for path in paths:
        try:
            lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: cannot be read as a list of frame ids ({error})") from error
        named = [line.strip() for line in lines if line.strip()]
        if not named:
            raise SourceError(f"{path}: names no frame", "Expected a frame id a line, as set06/V000/I00019.")
        ids |= dict.fromkeys(named, Path(path).name)
    return ids


def restrict(available: Collection[str], lists: Iterable[str]) -> tuple[list[str], list[Reject]]:
    """Return the sorted ids that the lists name (all where there is no list), and a reject for each one not there."""
    named = read_lists(lists)
    if not named:
        return sorted(available), []
    missing = [
        Reject(frame_id, source, "missing_listed", "the list names a frame that is not there")
        for frame_id, source in sorted(named.items())
        if frame_id not in available
    ]
    return sorted(frame_id for frame_id in named if frame_id in available), missing


def refuse_annotations(settings: FramesSettings) -> None:
    """Refuse settings that name annotations for a source without boxes.

    Raises:
        SettingsError: they do.
    """
    if settings.annotations or settings.annotations_only:
        raise SettingsError(
            f"source {settings.source} has no annotations: `annotations` and `annotations_only` do not apply",
            "Leave them out.",
        )
