"""Files on their way to object storage and back, each checked against its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from irgen import files, progress, store
from irgen.errors import StoreError
from irgen.objects import NO_CONDITIONS, Objects
from irgen.shards.committed import RUN

THREADS = 8
Row = Mapping[str, Any]
"""Of a manifest: path, sha256, bytes."""


class Upload:
    """What is put where; what puts a file returns 1, or 0 where it was there already."""

    def __init__(self, folder: Path, there: Objects) -> None:
        self._folder = folder
        self._there = there
        self._sizes = there.sizes()
        self._vouched = False

    def look(self, seal: Row) -> None:
        """See whether the dataset has been there: then what differs from it is damaged, and may be replaced.

        Raises:
            StoreError: another dataset lies there, finished.
        """
        self._vouched = store.MANIFEST in self._sizes
        if self._vouched and self._there.sha256(store.MANIFEST) != seal["sha256"]:
            raise self._other(store.MANIFEST)

    def claim(self, run: Row) -> int:
        """Put `run.json` there first of all, and see whether the storage knows conditions.

        Raises:
            StoreError: another dataset's lies there; or a second put of the same bytes was not refused.
        """
        moved = self.record(run)
        if self._there.put_first(RUN, self._folder / RUN, run["sha256"]):
            raise StoreError(f"{self._there}: the storage ignores the condition of a put", NO_CONDITIONS)
        return moved

    def shard(self, rows: list[Row]) -> int:
        """Put a shard's parts there, and its commit record last."""
        *parts, record = rows
        # Named by their content: whoever else puts one puts the same, and what differs is damaged.
        return sum(self._replace(row) for row in parts) + self.record(record)

    def record(self, row: Row) -> int:
        """Put a file there whose name does not tell its content.

        Raises:
            StoreError: another lies there.
        """
        if self._vouched or self._has(row):
            return self._replace(row)
        name, sha256 = row["path"], row["sha256"]
        if self._there.put_first(name, self._folder / name, sha256):
            return 1
        if self._there.sha256(name) != sha256:
            raise self._other(name)
        return 0

    def _replace(self, row: Row) -> int:
        if self._has(row):
            return 0
        self._there.put(row["path"], self._folder / row["path"], row["sha256"])
        return 1

    def _other(self, name: str) -> StoreError:
        return StoreError(
            f"{self._there}/{name}: is of another dataset, or was changed",
            "Push to another prefix, or remove what lies under this one.",
        )

    def _has(self, row: Row) -> bool:
        name = row["path"]
        return self._sizes.get(name) == row["bytes"] and self._there.sha256(name) == row["sha256"]


def each(do: Callable[[Any], Any], items: Iterable[Any], advance: progress.Advance) -> list[Any]:
    """Do a thing with each item, several at once; count the bytes of those that are done."""
    items = list(items)
    with ThreadPoolExecutor(THREADS) as pool:
        done = []
        try:
            for item, result in zip(items, pool.map(do, items), strict=True):
                advance(sum(row["bytes"] for row in (item if isinstance(item, list) else [item])))
                done.append(result)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return done


def row_of(folder: Path, name: str) -> Row:
    """Describe a file as a manifest does."""
    path = folder / name
    return {"path": name, "sha256": files.sha256_file(path), "bytes": path.stat().st_size}


def differs(folder: Path, row: Row) -> bool:
    """Say whether a file that is there is another than its row says."""
    path = folder / row["path"]
    return path.stat().st_size != row["bytes"] or files.sha256_file(path) != row["sha256"]


def fetch(there: Objects, folder: Path, row: Row) -> None:
    """Fetch a file into a folder, whole or not at all.

    Raises:
        StoreError: it is not there, or not what its row says.
    """
    with files.placed(folder / row["path"]) as temporary:
        with there.open(row["path"]) as stream, files.create(temporary) as copy:
            while chunk := stream.read(files.CHUNK_BYTES):
                copy.write(chunk)
        if files.sha256_file(temporary) != row["sha256"]:
            raise StoreError(f"{there}/{row['path']}: was changed", there.mend)
