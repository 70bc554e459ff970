"""A finished dataset on object storage: put there, checked there, fetched from there.

It lies there as in its folder, name by name, and appears in the folder's order: `run.json`, which keeps other datasets
out; each shard's tar and tables, which are named by content, and then its commit record; all else; `manifest.json`
last. Records are put on the condition that nothing has their name, so that of several writers exactly one wins, and
the others see whether it wrote the same. Who was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irgen import files, progress, store
from irgen.errors import StoreError
from irgen.objects import NO_CONDITIONS, Objects
from irgen.shards.committed import COMMIT, RUN, records
from irgen.shards.dataset import find

THREADS = 8
Row = Mapping[str, Any]
"""Of a manifest: path, sha256, bytes."""


@dataclass(frozen=True)
class Copied:
    """What a copy took.

    Attributes:
        source, target: from where to where.
        files: in all.
        bytes: of them.
        moved: files that were not there already.
    """

    source: str
    target: str
    files: int
    bytes: int
    moved: int


def push(path: Path, url: str) -> Copied:
    """Put a finished dataset on object storage, or what of it is not there yet.

    Args:
        path: a dataset's folder (its newest finished shards), or one output of stage shards.
        url: s3://BUCKET/PREFIX; for this dataset alone.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: no such dataset, or a damaged one; another dataset lies there; or the storage refuses.
    """
    folder, there = find(path), Objects(url)
    if found := store.problems(folder):
        raise StoreError(found[0], "`irgen repair` it, then push it again.")
    manifest = store.read_manifest(folder)
    upload = _Upload(folder, there)
    rows = {row["path"]: row for row in manifest["files"]}
    seal = _row(folder, store.MANIFEST)
    upload.look(seal)
    moved = upload.claim(rows[RUN])
    shards = [[*record["parts"].values(), rows[_record_name(record)]] for record in records(folder)]
    placed = {row["path"] for shard in shards for row in shard} | {RUN}
    with progress.bar("push", sum(row["bytes"] for row in rows.values())) as advance:
        moved += sum(_each(upload.shard, shards, advance))
        moved += sum(_each(upload.record, [row for name, row in rows.items() if name not in placed], advance))
    sizes = there.sizes()
    if lost := [name for name, row in rows.items() if sizes.get(name) != row["bytes"]]:
        raise StoreError(f"{there}/{lost[0]}: not there in its full length after it was put", there.mend)
    moved += upload.record(seal)
    return Copied(str(folder), str(there), len(rows) + 1, sum(row["bytes"] for row in rows.values()), moved)


def pull(url: str, folder: Path) -> Copied:
    """Fetch a dataset from object storage into a folder, or what of it is not there yet; every byte is checked.

    Args:
        url: where it was pushed to.
        folder: new, empty, or of an interrupted pull of the same dataset.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: no finished dataset there, a damaged one, or the folder holds something else.
    """
    there = Objects(url)
    data, manifest = _manifest(there)
    rows = manifest["files"]
    known = {row["path"] for row in rows} | {store.MANIFEST, store.COST}
    here = {path.relative_to(folder).as_posix() for path in files.below(folder)} if folder.exists() else set()
    if odd := sorted(here - known):
        raise StoreError(f"{folder}: holds {odd[0]}, which is not of {there}", "Name a folder that is empty or new.")
    missing = [row for row in rows if row["path"] not in here or _differs(folder, row)]
    with progress.bar("pull", sum(row["bytes"] for row in missing)) as advance:
        _each(lambda row: _fetch(there, folder, row), missing, advance)
    files.write_bytes(folder / store.MANIFEST, data)
    return Copied(str(there), str(folder), len(rows) + 1, sum(row["bytes"] for row in rows), len(missing))


def verify(url: str) -> list[str]:
    """Read every byte of a dataset on object storage; return a line for each thing that is wrong.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: no finished dataset lies there, or the storage refuses.
    """
    there = Objects(url)
    _, manifest = _manifest(there)
    sizes, rows = there.sizes(), manifest["files"]
    with progress.bar("verify", sum(row["bytes"] for row in rows)) as advance:
        found = [line for line in _each(lambda row: _problem(there, sizes, row), rows, advance) if line]
    odd = sorted(sizes.keys() - {row["path"] for row in rows} - {store.MANIFEST})
    return found + [f"{there}/{name}: not in the manifest" for name in odd]


class _Upload:
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


def _each(do: Callable[[Any], Any], items: Iterable[Any], advance: progress.Advance) -> list[Any]:
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


def _manifest(there: Objects) -> tuple[bytes, dict[str, Any]]:
    data = there.read(store.MANIFEST)
    return data, store.parse_manifest(data, f"{there}/{store.MANIFEST}", there.mend)


def _record_name(record: Mapping[str, Any]) -> str:
    return f"{COMMIT}/{record['shard']:06d}.json"


def _row(folder: Path, name: str) -> Row:
    path = folder / name
    return {"path": name, "sha256": files.sha256_file(path), "bytes": path.stat().st_size}


def _differs(folder: Path, row: Row) -> bool:
    path = folder / row["path"]
    return path.stat().st_size != row["bytes"] or files.sha256_file(path) != row["sha256"]


def _fetch(there: Objects, folder: Path, row: Row) -> None:
    with files.placed(folder / row["path"]) as temporary:
        with there.open(row["path"]) as stream, files.create(temporary) as copy:
            while chunk := stream.read(files.CHUNK_BYTES):
                copy.write(chunk)
        if files.sha256_file(temporary) != row["sha256"]:
            raise StoreError(f"{there}/{row['path']}: was changed", there.mend)


def _problem(there: Objects, sizes: Mapping[str, int], row: Row) -> str:
    name = row["path"]
    if name not in sizes:
        return f"{there}/{name}: missing"
    if sizes[name] != row["bytes"]:
        return f"{there}/{name}: {sizes[name]} bytes, the manifest says {row['bytes']}"
    return "" if there.hashed(name) == row["sha256"] else f"{there}/{name}: contents changed (sha256 differs)"
