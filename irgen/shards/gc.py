"""Removing what crashes left behind: never a file that a manifest or a commit record names."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from irgen import files, store
from irgen.errors import StoreError
from irgen.shards.committed import COMMIT, RUN, orphans

STAGE_FOLDER = re.compile(r"\d\d-[a-z]+")
OUTPUT_FOLDER = re.compile(rf"[0-9a-f]{{{store.FINGERPRINT_DIGITS}}}")


def gc(path: Path, dry_run: bool = False) -> list[Path]:
    """Remove scratch, uncommitted shards, and unfinished outputs with which no run would carry on.

    A dataset's unfinished output without a committed shard goes when it is empty or a sharded one, or when another
    output of its stage was finished later; else it may hold checkpoints, and stays.

    Args:
        path: a stage's output, a dataset or a data folder; what in it is not irgen's stays.
        dry_run: only list them.

    Returns:
        What was, or would be, removed.

    Raises:
        StoreError: no such folder, a run is at work in it, or a commit record is damaged.
    """
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder", "Name a dataset or a stage's output.")
    folders = _outputs(path)
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(store.idle(folder))
        found = [each for folder in folders for each in _garbage(folder)]
        found += [scratch for folder in _datasets(path) if (scratch := folder / files.TMP).is_dir()]
        found += [lock for lock in sorted(path.rglob(".*.lock")) if _is_left(lock, found)]
        if not dry_run:
            for each in found:
                if each.is_dir():
                    files.remove_tree(each)
                else:
                    files.remove(each)
    return found


def _outputs(path: Path) -> list[Path]:
    """List the outputs at or below a folder, finished or not."""
    marks = {*path.rglob(store.MANIFEST), *path.rglob(RUN)}
    folders = {mark.parent for mark in marks if _is_output(mark.parent)}
    folders |= {folder for folder in [path, *path.rglob("*")] if folder.is_dir() and _has_output_name(folder)}
    return sorted(folder for folder in folders if files.TMP not in folder.relative_to(path).parts)


def _has_output_name(folder: Path) -> bool:
    place = folder.absolute()
    return bool(OUTPUT_FOLDER.fullmatch(place.name) and STAGE_FOLDER.fullmatch(place.parent.name))


def _is_output(folder: Path) -> bool:
    if (folder / RUN).exists() and (folder / COMMIT).is_dir():
        return True
    try:
        store.read_manifest(folder)
    except StoreError:
        return False
    return True


def _datasets(path: Path) -> set[Path]:
    """List the folders at or below one that hold stages' folders."""
    stages = [folder for folder in path.rglob("*") if STAGE_FOLDER.fullmatch(folder.name) and folder.is_dir()]
    return {folder.parent for folder in stages if any(map(_has_output_name, folder.iterdir()))}


def _garbage(folder: Path) -> list[Path]:
    finished = (folder / store.MANIFEST).exists()
    committed = any((folder / COMMIT).glob("*.json"))
    sharded = (folder / RUN).exists()
    if finished or committed or not _has_output_name(folder):
        scratch = sorted(each for each in folder.rglob(files.TMP) if each.is_dir())
        return scratch + (orphans(folder) if sharded else [])
    return [folder] if sharded or not _carries_on(folder) else []


def _carries_on(folder: Path) -> bool:
    """Say whether an unfinished output holds work, and no other output of its stage was finished after it."""
    work = [each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file()]
    # A manifest is as new as its last use; what was done is as old as its cost.
    pairs = [(each, each.with_name(store.COST)) for each in folder.parent.glob(f"*/{store.MANIFEST}")]
    finished = [(cost if cost.exists() else manifest).stat().st_mtime_ns for manifest, cost in pairs]
    return bool(work) and max(work) > max(finished, default=0)


def _is_left(lock: Path, gone: list[Path]) -> bool:
    """Say whether a lock's output is not there any more."""
    folder = lock.parent / lock.name.removeprefix(".").removesuffix(".lock")
    return store.lock_path(folder) == lock and _has_output_name(folder) and (folder in gone or not folder.exists())
