"""Sharded outputs: written shard by shard, each visible whole or not at all, by any number of writers.

```
run.json                        what the shards belong to; made once, refused if different
_tmp/                           never read
shards/000123-<sha12>.tar       immutable, named by content
meta/000123-<sha12>.parquet     one row an item; further tables likewise, each in a folder of its name
commit/000123.json              names, sha256, bytes, rows; os.link, so that the first of several writers wins
```

`run.json` and the commit records carry a digest of themselves. A commit record that is damaged, or whose files are
gone or changed, is withdrawn, and its shard made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files, store
from irgen.errors import StoreError
from irgen.shards.committed import COMMIT, RUN, SHARDS, TABLE, orphans, record_path, records, sound
from irgen.shards.sample import META
from irgen.shards.writer import ShardWriter

log = logging.getLogger(__name__)

SHA_DIGITS = 12
RECORD = "record.json"
"""A commit record that is not one yet."""

T = TypeVar("T")


class ShardedOutput:
    """A folder of shards under construction.

    Attributes:
        folder: where it lies.
        count: shards in all.
    """

    def __init__(self, folder: Path, items: int, per_shard: int, tables: Mapping[str, pa.Schema]) -> None:
        self.folder = folder
        self.count = -(-items // per_shard)
        self._items = items
        self._per_shard = per_shard
        self._tables = tables

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        run: Mapping[str, Any],
        items: int,
        per_shard: int,
        columns: pa.Schema,
        tables: Mapping[str, pa.Schema] | None = None,
    ) -> Self:
        """Begin an output, or go on with it.

        Args:
            folder: where it lies or shall lie.
            run: what the shards belong to, JSON-able; the same at every opening.
            items: how many there will be, tombstones included; keys are 0 to items - 1.
            per_shard: items of every shard but the last.
            columns: of the meta table, beside those of `META`.
            tables: schemas of further tables, by name.

        Raises:
            StoreError: the folder holds shards of something else, or its run.json is damaged.
        """
        document = {**run, "items": items, "items_per_shard": per_shard}
        for part in (SHARDS, COMMIT):
            files.make_folder(folder / part)
        if not (folder / RUN).exists():
            with scratch_in(folder, RUN) as scratch:
                files.write_scratch(scratch / RUN, files.sealed(document))
                files.publish_first(scratch / RUN, folder / RUN)
        _refuse_other(folder / RUN, document)
        schemas = {TABLE: pa.unify_schemas([META, columns]), **(tables or {})}
        return cls(folder, items, per_shard, schemas)

    def items(self, number: int) -> range:
        """Return the indices of a shard's items."""
        return range(number * self._per_shard, min((number + 1) * self._per_shard, self._items))

    def measured(self, measure: Callable[[], T]) -> T:
        """Measure what is to be known before the first item; one writer at a time, and the next goes by its files."""
        with store.exclusive(self.folder / files.TMP / "guide"):
            return measure()

    def missing(self) -> list[int]:
        """Return the shards without a sound commit record."""
        return [number for number in range(self.count) if not self._committed(number)]

    def pending(self) -> Iterator[int]:
        """Yield the missing shards, each kept from other writers until the next is asked for.

        A shard that another writer is making is looked at again after all others, and waited for when there is nothing
        else to do; it is made where that writer fails.
        """
        left = self.missing()
        # A record that was not there and is now, a writer has put there: to read them all is not every writer's work.
        unrecorded = {number for number in left if not record_path(self.folder, number).exists()}
        wait = False
        while left:
            busy = []
            for number in left:
                if number in unrecorded and record_path(self.folder, number).exists():
                    wait = False
                    continue
                with self._lock(number) as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        busy.append(number)
                        continue
                    wait = False
                    if not self._committed(number):
                        yield number
            left, wait = busy, len(busy) == len(left)

    @contextlib.contextmanager
    def shard(self, number: int) -> Iterator[ShardWriter]:
        """Write a shard; it is committed when the block ends, and leaves nothing when it raises.

        Raises:
            ValueError: an item is missing, or not the shard's; a score sheet of another shape, or a row that does
                not fill its table's columns.
        """
        with scratch_in(self.folder, f"{number:06d}") as scratch:
            writer = ShardWriter(scratch / "members.tar", self.items(number), self._tables)
            try:
                yield writer
                writer.close()
                self._commit(number, writer, scratch)
            finally:
                writer.discard()

    def finish(self) -> dict[str, int]:
        """Check every committed byte, remove what no commit record names, and return the totals.

        Raises:
            StoreError: a shard is missing or was damaged since it was committed.
        """
        unsound = [number for number in range(self.count) if not self._committed(number, hashes=True)]
        for number in unsound:
            self._withdraw(number)
        if unsound:
            raise StoreError(
                f"{self.folder}: {len(unsound)} of {self.count} shards missing or damaged, the first is {unsound[0]}",
                "Run its stage again: it makes these alone.",
            )
        shapes = {files.canonical_json(record["sheet"]) for record in records(self.folder) if record["sheet"]}
        if len(shapes) > 1:
            raise StoreError(
                f"{self.folder}: score sheets differ in their fields from shard to shard",
                "Remove it, run its stage again.",
            )
        for path in orphans(self.folder):
            files.remove(path)
        self._sweep()
        return {"rows": self._items, "shards": self.count}

    def _sweep(self) -> None:
        """Remove the scratch of shards, whoever left it; another's manifest may be on its way beside it."""
        scratch = self.folder / files.TMP
        for pattern in (f"{RUN}.*", "[0-9]*.*"):
            for path in _now(scratch, pattern):
                if path.is_dir():
                    files.remove_tree(path)
                else:
                    files.remove(path)
        files.remove_folder(scratch)

    def _committed(self, number: int, *, hashes: bool = False) -> bool:
        return sound(self.folder, number, (SHARDS, *self._tables), hashes=hashes)

    def _withdraw(self, number: int) -> None:
        """Remove the commit record of a shard that is to be made again."""
        files.remove(record_path(self.folder, number))

    def _commit(self, number: int, writer: ShardWriter, scratch: Path) -> None:
        if not self._committed(number):
            self._withdraw(number)
        sources, record = self._finished(number, writer, scratch)
        files.write_scratch(scratch / RECORD, files.sealed(record))
        # What a full disk can refuse is on it before the first file gets its name.
        for source in sources.values():
            files.fsync(source)
        parts = record["parts"]
        try:
            for name, source in sources.items():
                files.make_folder(self.folder / name)
                files.publish(source, self.folder / parts[name]["path"])
            files.publish_first(scratch / RECORD, record_path(self.folder, number))
        except BaseException:
            if not self._committed(number):
                for part in parts.values():
                    with contextlib.suppress(OSError):
                        files.remove(self.folder / part["path"])
            raise

    def _finished(self, number: int, writer: ShardWriter, scratch: Path) -> tuple[dict[str, Path], dict[str, Any]]:
        """Return a written shard's files, by name of the part, and its commit record."""
        sources = {SHARDS: writer.path}
        for name, schema in self._tables.items():
            sources[name] = scratch / f"{name}.parquet"
            with files.create(sources[name]) as stream:
                pq.write_table(pa.Table.from_pylist(writer.rows[name], schema=schema), stream, compression="zstd")
        record = {
            "shard": number,
            "rows": len(self.items(number)),
            "members": writer.members,
            "sheet": writer.sheet,
            "parts": {name: _named(source, name, number) for name, source in sources.items()},
        }
        return sources, record

    def _lock(self, number: int) -> IO[str]:
        path = self.folder / files.TMP / f"{number:06d}.lock"
        while True:
            # Another writer may be finishing, and its scratch goes at any moment.
            files.make_scratch(path.parent)
            with contextlib.suppress(FileNotFoundError):
                return files.open_lock(path)


def _named(source: Path, part: str, number: int) -> dict[str, Any]:
    """Name a finished file by its content: where that name is taken, the same bytes bear it."""
    sha256 = files.sha256_file(source)
    name = f"{part}/{number:06d}-{sha256[:SHA_DIGITS]}{source.suffix}"
    return {"path": name, "sha256": sha256, "bytes": source.stat().st_size}


def _now(folder: Path, pattern: str) -> list[Path]:
    """List what matches in a folder that another writer may be removing."""
    try:
        return sorted(folder.glob(pattern))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def scratch_in(folder: Path, name: str) -> Iterator[Path]:
    """Yield a folder of one's own in `_tmp/`, and remove it."""
    scratch = folder / files.TMP / f"{name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    files.make_scratch(scratch)
    try:
        yield scratch
    finally:
        files.remove_tree(scratch)


def _refuse_other(path: Path, document: Mapping[str, Any]) -> None:
    way_out = "Choose another folder, or remove this one."
    try:
        there = files.read_sealed(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {error}", way_out) from error
    if files.canonical_json(there) != files.canonical_json(document):
        different = sorted(key for key in {*there, *document} if there.get(key) != document.get(key))
        changes = "; ".join(f"{key}: {there.get(key)} there, {document.get(key)} now" for key in different)
        raise StoreError(f"{path}: belongs to another run ({changes})", way_out)
