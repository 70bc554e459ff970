"""Sharded outputs: written shard by shard, each visible whole or not at all, by any number of writers.

```
run.json                        what the shards belong to; made once, refused if different
_tmp/                           never read
shards/000123-<sha12>.tar       immutable, named by content
meta/000123-<sha12>.parquet     one row an item; further tables likewise, each in a folder of its name
commit/000123.json              names, sha256, bytes, rows; os.link, so that the first of several writers wins
```
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files
from irgen.errors import StoreError
from irgen.shards.sample import META, Sample
from irgen.shards.tar import TarWriter

RUN = "run.json"
SHARDS, TABLE, COMMIT = "shards", "meta", "commit"
SHA_DIGITS = 12


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
    ) -> ShardedOutput:
        """Begin an output, or go on with it.

        Args:
            folder: where it lies or shall lie.
            run: what the shards belong to, JSON-able; the same at every opening.
            items: how many there will be, tombstones included; keys are 0 to items - 1.
            per_shard: items of every shard but the last.
            columns: of the meta table, beside those of `META`.
            tables: schemas of further tables, by name.

        Raises:
            StoreError: the folder holds shards of something else.
        """
        document = {**run, "items": items, "items_per_shard": per_shard}
        for part in (SHARDS, COMMIT, files.TMP):
            (folder / part).mkdir(parents=True, exist_ok=True)
        temporary = _temporary(folder, RUN)
        temporary.write_bytes(files.json_bytes(document))
        if not files.publish_first(temporary, folder / RUN):
            _refuse_other(folder / RUN, document)
        schemas = {TABLE: pa.unify_schemas([META, columns]), **(tables or {})}
        return cls(folder, items, per_shard, schemas)

    def items(self, number: int) -> range:
        """Return the indices of a shard's items."""
        return range(number * self._per_shard, min((number + 1) * self._per_shard, self._items))

    def missing(self) -> list[int]:
        """Return the shards without a commit record."""
        return [number for number in range(self.count) if not self._record(number).exists()]

    @contextlib.contextmanager
    def shard(self, number: int) -> Iterator[ShardWriter]:
        """Write a shard; it is committed when the block ends, and leaves nothing when it raises.

        Raises:
            ValueError: an item is missing, or not the shard's.
        """
        writer = ShardWriter(_temporary(self.folder, f"{number:06d}.tar"), self.items(number))
        try:
            yield writer
            self._commit(number, writer)
        finally:
            writer.discard()

    def finish(self) -> None:
        """Remove what no commit record names.

        Raises:
            StoreError: a shard is missing.
        """
        if missing := self.missing():
            raise StoreError(f"{self.folder}: shards {missing} are not committed", "Run its stage again.")
        for path in orphans(self.folder):
            path.unlink()
        files.remove_tree(self.folder / files.TMP)

    def _record(self, number: int) -> Path:
        return self.folder / COMMIT / f"{number:06d}.json"

    def _commit(self, number: int, writer: ShardWriter) -> None:
        parts = {SHARDS: self._place(writer.close(), SHARDS, number, "tar")}
        for name, schema in self._tables.items():
            temporary = _temporary(self.folder, f"{number:06d}.{name}.parquet")
            pq.write_table(pa.Table.from_pylist(writer.rows(name), schema=schema), temporary, compression="zstd")
            parts[name] = self._place(temporary, name, number, "parquet")
        record = {"shard": number, "rows": len(self.items(number)), "members": writer.members, "parts": parts}
        temporary = _temporary(self.folder, f"{number:06d}.json")
        temporary.write_bytes(files.json_bytes(record))
        files.publish_first(temporary, self._record(number))

    def _place(self, temporary: Path, part: str, number: int, suffix: str) -> dict[str, Any]:
        """Give a finished file the name of its content; one that is there already is the same."""
        sha256, size = files.sha256_file(temporary), temporary.stat().st_size
        path = self.folder / part / f"{number:06d}-{sha256[:SHA_DIGITS]}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        files.publish(temporary, path)
        return {"path": path.relative_to(self.folder).as_posix(), "sha256": sha256, "bytes": size}


class ShardWriter:
    """The shard that is being written; items come in order."""

    def __init__(self, temporary: Path, items: range) -> None:
        self._temporary = temporary
        self._tar = TarWriter(temporary)
        self._expected = items
        self._samples: list[dict[str, Any]] = []
        self._extra: dict[str, list[dict[str, Any]]] = {}
        self.members = 0

    def add(self, sample: Sample) -> None:
        """Add the next item.

        Raises:
            ValueError: it is not the next one.
        """
        wanted = self._expected[len(self._samples)] if len(self._samples) < len(self._expected) else None
        if sample.index != wanted:
            raise ValueError(f"item {sample.index} where the shard expects {wanted}")
        self._samples.append(sample.write(self._tar))
        self.members += len(sample.members())
        for name, rows in sample.tables.items():
            self._extra.setdefault(name, []).extend(rows)

    def rows(self, table: str) -> Sequence[dict[str, Any]]:
        """Return the rows of a table."""
        return self._samples if table == TABLE else self._extra.get(table, [])

    def close(self) -> Path:
        """End the tar and return it.

        Raises:
            ValueError: items are missing.
        """
        if len(self._samples) != len(self._expected):
            raise ValueError(f"{len(self._samples)} items of {len(self._expected)}")
        self._tar.close()
        return self._temporary

    def discard(self) -> None:
        """Close and remove what was not committed."""
        self._tar.close()
        self._temporary.unlink(missing_ok=True)


def records(folder: Path) -> list[dict[str, Any]]:
    """Read the commit records, in order, each with the `paths` of its parts.

    Raises:
        StoreError: one is damaged.
    """
    found = []
    for path in sorted((folder / COMMIT).glob("*.json")):
        try:
            record = json.loads(path.read_bytes())
            record["paths"] = [str(part["path"]) for part in record["parts"].values()]
            found.append(record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"{path}: damaged ({error})", "Remove it and run its stage again.") from error
    return found


def orphans(folder: Path) -> list[Path]:
    """List the shards and tables that no commit record names.

    Raises:
        StoreError: a commit record is damaged.
    """
    named = {path for record in records(folder) for path in record["paths"]}
    named_folders = {name.split("/")[0] for name in named} | {SHARDS, TABLE}
    return [
        path
        for part in sorted(named_folders)
        for path in sorted((folder / part).glob("*"))
        if path.relative_to(folder).as_posix() not in named
    ]


def _temporary(folder: Path, name: str) -> Path:
    scratch = folder / files.TMP
    scratch.mkdir(exist_ok=True)
    return scratch / f"{name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


def _refuse_other(path: Path, document: Mapping[str, Any]) -> None:
    there = json.loads(path.read_bytes())
    if there != document:
        different = sorted(key for key in {*there, *document} if there.get(key) != document.get(key))
        changes = "; ".join(f"{key}: {there.get(key)} there, {document.get(key)} now" for key in different)
        raise StoreError(f"{path}: belongs to another run ({changes})", "Choose another folder, or remove this one.")
