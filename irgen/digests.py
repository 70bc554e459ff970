"""Content digests of what comes from outside: raw data and model weights.

Hashing 100,000 frames or 34 GB of weights takes minutes, so a file's digest is remembered by path, size and mtime.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from irgen import files


def memo_path() -> Path:
    """Return where digests are remembered (`XDG_CACHE_HOME`, or `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irgen" / "digests.sqlite"


def walk(root: Path) -> Iterator[Path]:
    """Yield every file below a folder (or the file itself), hidden ones left out, in a fixed order."""
    if root.is_file():
        yield root
        return
    for folder, subfolders, names in os.walk(root):
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
        for path in walk(root) if paths is None else paths:
            sha256 = _remembered(database, path)
            total.update(os.fsencode(path.relative_to(base).as_posix()) + f"\0{sha256}\n".encode())
    database.close()
    return total.hexdigest()


def _remembered(database: sqlite3.Connection, path: Path) -> str:
    if not path.is_file():
        return "not a regular file"  # the source's adapter says so, too
    stat = path.stat()
    key = os.fsencode(path.resolve()).decode(errors="backslashreplace")
    row = database.execute("SELECT bytes, mtime_ns, sha256 FROM digests WHERE path = ?", (key,)).fetchone()
    if row is not None and row[:2] == (stat.st_size, stat.st_mtime_ns):
        return str(row[2])
    sha256 = files.sha256_file(path)
    database.execute(
        "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", (key, stat.st_size, stat.st_mtime_ns, sha256)
    )
    return sha256
