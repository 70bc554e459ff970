"""Runs of one dataset at a time: any number with the same settings, none beside them with others.

Two runs with the same settings share the work, each output made once. With other settings they would not harm each
other, outputs being named by what decides them, but whose report is the dataset's would be a matter of chance.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from irgen import files, pipeline
from irgen.errors import IrgenError
from irgen.settings import Manifest

LOCK = ".run.lock"
WAIT_S = 0.05


class RunningError(IrgenError):
    """A run with other settings is at work on the dataset."""


@contextlib.contextmanager
def claimed(root: Path, manifest: Manifest) -> Iterator[None]:
    """Hold a dataset while a run builds it; the kernel lets go of it when the process ends, however that may be.

    Args:
        root: the dataset's folder.
        manifest: what is built.

    Raises:
        RunningError: another run builds something else there; says what differs.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("a+") as lock:
        while not _claim(lock, manifest):
            time.sleep(WAIT_S)
        yield


def at_work(root: Path) -> bool:
    """Say whether a process works on a dataset: builds it, or makes one of its outputs."""
    return is_held(root / LOCK) or any(is_held(lock) for lock in root.glob("[0-9]*/.*.lock"))


def is_held(path: Path) -> bool:
    """Say whether a process holds a lock; the kernel lets go of a dead one's."""
    try:
        # NFS gives an exclusive lock to none but those who may write.
        with path.open("r+" if os.access(path, os.W_OK) else "r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _claim(lock: IO[str], manifest: Manifest) -> bool:
    """Share the lock with runs of the same settings. False: ask again.

    Who has it alone says first what for. Between that and sharing it another may do the same, so all read in the end.
    """
    mine = manifest.model_dump(mode="json")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(files.canonical_json(mine).decode())
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_SH)
    except BlockingIOError:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # somebody is saying what for
    lock.seek(0)
    try:
        theirs = json.loads(lock.read())
    except json.JSONDecodeError:
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False  # who had it died before it had said
    if theirs != mine:
        changes = "; ".join(pipeline.differences(theirs, mine))
        raise RunningError(
            f"{Path(lock.name).parent}: a run with other settings is at work there ({changes})",
            "Wait until it ends or cancel it; or give this one another dataset name.",
        )
    return True
