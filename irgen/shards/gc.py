"""Removing what crashes left behind: never a file that a manifest or a commit record names."""

from __future__ import annotations

import fcntl
from pathlib import Path

from irgen import files, store
from irgen.errors import StoreError
from irgen.shards.commit import COMMIT, RUN, orphans


def gc(path: Path, dry_run: bool = False) -> list[Path]:
    """Remove scratch, uncommitted shards and unfinished outputs without any committed shard.

    Args:
        path: a stage's output, a dataset or a data folder.
        dry_run: only list them.

    Returns:
        What was, or would be, removed.

    Raises:
        StoreError: no such folder, or a run is at work in it.
    """
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder", "Name a dataset or a stage's output.")
    found = [each for folder in _stage_outputs(path) for each in _garbage(folder)]
    if not dry_run:
        for each in found:
            if each.is_dir():
                files.remove_tree(each)
            else:
                each.unlink(missing_ok=True)
    return found


def _stage_outputs(path: Path) -> list[Path]:
    """List the folders that are, or once would have been, an output."""
    marks = [*path.rglob(store.MANIFEST), *path.rglob(RUN), *path.rglob(files.TMP)]
    inside = {mark.parent for mark in marks if files.TMP not in mark.relative_to(path).parts[:-1]}
    return sorted(folder for folder in inside if not any(parent in inside for parent in folder.parents))


def _garbage(folder: Path) -> list[Path]:
    _refuse_busy(folder)
    finished = (folder / store.MANIFEST).exists()
    committed = any((folder / COMMIT).glob("*.json"))
    if not finished and not committed:
        return [folder]
    scratch = [folder / files.TMP] if (folder / files.TMP).exists() else []
    return scratch + (orphans(folder) if (folder / COMMIT).is_dir() else [])


def _refuse_busy(folder: Path) -> None:
    lock = store.lock_path(folder)
    if not lock.exists():
        return
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{folder}: a run is at work there", "Wait until it ends, or stop it.") from error
