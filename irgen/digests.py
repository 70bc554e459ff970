"""Content digests of what comes from outside: raw data and model weights.

Hashing 100,000 frames or 34 GB of weights takes minutes, so a file's digest is remembered by path, size and mtime.
"""

import functools
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from irgen import files

FOLDERS_AT_ONCE = 8
WRITE_EVERY_S = 5.0
NO_FILE = "not a regular file"
"""In place of a digest; the source's adapter says so, too."""


def memo_path() -> Path:
    """Return where digests are remembered."""
    return files.cache_folder() / "digests.sqlite"


def walk(root: Path) -> Iterator[Path]:
    """Yield every file below a folder (or the file itself), hidden ones left out, in a fixed order."""
    if root.is_file():
        yield root
        return
    been = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if (place := os.path.realpath(folder)) in been:  # a link that leads back
            subfolders.clear()
            continue
        been.add(place)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def digest(root: Path, paths: Iterable[Path] | None = None) -> str:
    """Digest the names and contents of the files below `root` (all of them, or `paths`).

    Equal trees have equal digests wherever they lie and whenever they were copied.
    """
    base = root if root.is_dir() else root.parent
    total = hashlib.sha256()
    memo = memo_path()
    memo.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(memo, timeout=60) as database:
        database.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, bytes INT, mtime_ns INT, sha256)")
        database.commit()
        remembered = _Memo(database)
        prefix = functools.lru_cache(FOLDERS_AT_ONCE)(lambda folder: _prefix(Path(folder).relative_to(base)))
        try:
            for path in walk(root) if paths is None else paths:
                folder, name = os.path.split(path)
                total.update(os.fsencode(prefix(folder) + name) + f"\0{remembered.sha256(path)}\n".encode())
        finally:
            remembered.write()
    database.close()
    return total.hexdigest()


class _Memo:
    """What is remembered of files, read folder by folder: 200,000 frames take seconds, not a minute."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._new: list[tuple[str, int, int, str]] = []
        self._written_s = time.monotonic()
        self._known = functools.lru_cache(FOLDERS_AT_ONCE)(self._of_folder)

    def sha256(self, path: Path) -> str:
        """Return a file's digest: the one remembered where size and mtime are the same."""
        try:
            seen = path.lstat()
            if stat.S_ISLNK(seen.st_mode):
                path = Path(os.path.realpath(path))
                seen = path.stat()
        except OSError:
            return NO_FILE
        if not stat.S_ISREG(seen.st_mode):
            return NO_FILE
        folder, name = os.path.split(path)
        key, rows = self._known(folder)
        name = _text(name)
        bytes_, mtime_ns, sha256 = rows.get(name, (None, None, ""))
        if (bytes_, mtime_ns) == (seen.st_size, seen.st_mtime_ns):
            return str(sha256)
        rows[name] = row = (seen.st_size, seen.st_mtime_ns, files.sha256_file(path))
        self._new.append((f"{key}/{name}", *row))
        if time.monotonic() - self._written_s > WRITE_EVERY_S:
            self.write()
        return row[2]

    def write(self) -> None:
        """Write down what is new; the database is locked for as long as that takes, not for as long as hashing does."""
        self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", self._new)
        self._database.commit()
        self._new.clear()
        self._written_s = time.monotonic()

    def _of_folder(self, folder: str) -> tuple[str, dict[str, tuple[int, int, str]]]:
        """Return a folder's key, and of its files size, mtime and digest by name."""
        key = _text(os.path.realpath(folder)).rstrip("/")
        rows = self._database.execute(
            "SELECT substr(path, ?1), bytes, mtime_ns, sha256 FROM digests "
            "WHERE path > ?2 || '/' AND path < ?2 || '0' AND instr(substr(path, ?1), '/') = 0",  # 0 comes after /
            (len(key) + 2, key),
        )
        return key, {name: (size, mtime_ns, sha256) for name, size, mtime_ns, sha256 in rows}


def _prefix(folder: Path) -> str:
    return f"{folder.as_posix()}/" if folder.parts else ""


def _text(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
