"""Loss of power, from the log of file operations: what was not flushed is lost, and the worst of it is looked at.

Killing a process proves nothing here, because the kernel keeps what it wrote. So the operations of a run are followed
in a model of the disk in which only fsync makes anything last: of a file its bytes, of a folder the names in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from irgen import files
from irgen.files import Moment, Operation

LOST = b"\0"


class Disk:
    """What of a folder would be there after a loss of power, by inode.

    Attributes:
        root: the folder.
        data: a file's bytes as of its last fsync.
        names: a folder's entries, name -> inode, as of its last fsync.
        folders: inodes that are folders, flushed or not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.folders: set[int] = set()
        for here, _, names in os.walk(root):
            self.flush(Path(here))
            for name in names:
                self.flush(Path(here, name))

    def flush(self, path: Path) -> None:
        """Do as fsync does."""
        inode = path.stat().st_ino
        if path.is_dir():
            self.names[inode] = _entries(path)
            self.folders |= {each.stat().st_ino for each in path.iterdir() if each.is_dir()}
        else:
            self.data[inode] = path.read_bytes()

    def forgets(self, path: Path) -> bool:
        """Say whether a file could be missing, or not have its bytes: itself, or a folder above it, not flushed."""
        if self.data.get(path.stat().st_ino) != path.read_bytes():
            return True
        while path != self.root:
            if self.names.get(path.parent.stat().st_ino, {}).get(path.name) != path.stat().st_ino:
                return True
            path = path.parent
        return False

    def least(self, to: Path) -> None:
        """Write the disk of which everything is lost that was not flushed."""
        self._write(to, self.root.stat().st_ino, lambda inode: self.names.get(inode, {}))

    def worst(self, to: Path) -> None:
        """Write the disk on which every name lasted at once, and of the bytes only what was flushed."""
        here = [Path(folder) for folder, _, _ in os.walk(self.root)]
        now = {folder.stat().st_ino: _entries(folder) for folder in here}
        self.folders |= now.keys()
        self._write(to, self.root.stat().st_ino, lambda inode: now[inode])

    def _write(self, to: Path, inode: int, entries: Callable[[int], dict[str, int]]) -> None:
        to.mkdir()
        for name, child in entries(inode).items():
            if child in self.folders:
                self._write(to / name, child, entries)
            else:
                (to / name).write_bytes(self.data.get(child, LOST))


def _entries(folder: Path) -> dict[str, int]:
    return {each.name: each.lstat().st_ino for each in folder.iterdir()}


def images(root: Path, act: Callable[[Path], None], scratch: Path, every: int = 1) -> Iterator[Path]:
    """Run `act` on a folder in a child's place, one operation after another; yield what a loss of power leaves.

    Two disks for each (or every so many) of the operations; they are gone when the next is asked for.
    """
    disks: list[Path] = []
    disk = Disk(root)
    count = 0

    def watch(moment: Moment, operation: Operation) -> None:
        nonlocal count
        if moment == "before":
            return
        if operation.kind == "fsync" and operation.path.is_relative_to(root):
            disk.flush(operation.path)
        count += 1
        if count % every == 0:
            for kind, write in (("least", disk.least), ("worst", disk.worst)):
                disks.append(scratch / f"{count:04d}-{kind}")
                write(disks[-1])

    with files.watched(watch):
        act(root)
    for each in disks:
        yield each
        shutil.rmtree(each)


def unflushed(root: Path, act: Callable[[Path], None]) -> Iterator[str]:
    """Run `act`; tell each file that a commit record or manifest names and a loss of power could have taken.

    Whoever is told by a record that a file is there must find it: so when the record gets its name, every file that
    it speaks of lasts already.
    """
    disk = Disk(root)
    found: list[str] = []

    def watch(moment: Moment, operation: Operation) -> None:
        if moment == "after" and operation.kind == "fsync" and operation.path.is_relative_to(root):
            disk.flush(operation.path)
        if moment == "before" and operation.target is not None:
            found.extend(_spoken_of(disk, operation.path, operation.target))

    with files.watched(watch):
        act(root)
    for path in sorted(root.rglob("manifest.json")):
        if disk.forgets(path):
            found.append(f"{path}: would not last, though the run has ended")
    yield from found


def _spoken_of(disk: Disk, source: Path, target: Path) -> Iterator[str]:
    if disk.data.get(source.stat().st_ino) != source.read_bytes():
        yield f"{target}: named before its bytes last"
    folder = target.parent
    if target.name == "manifest.json":
        named = [folder / row["path"] for row in files.read_sealed(source)["files"]]
    elif folder.name == "commit":
        named = [folder.parent / part["path"] for part in files.read_sealed(source)["parts"].values()]
    else:
        named = []
    for path in named:
        if disk.forgets(path):
            yield f"{target}: speaks of {path}, which would not last"
