"""One shard that is being written: images and score sheets into a tar, rows beside it."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from irgen.shards.committed import TABLE
from irgen.shards.sample import META, Sample, shape
from irgen.shards.tar import TarWriter


class ShardWriter:
    """The shard that is being written; items come in order.

    Attributes:
        path: the tar.
        rows: of every table, by its name.
        members: in the tar.
        sheet: the shape of its score sheets; empty where all items are tombstones.
    """

    def __init__(self, path: Path, items: range, tables: Mapping[str, pa.Schema]) -> None:
        self.path = path
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tables}
        self.members = 0
        self.sheet: dict[str, Any] = {}
        self._tar = TarWriter(path)
        self._expected = items
        self._tables = tables

    def add(self, sample: Sample) -> None:
        """Add the next item.

        Raises:
            ValueError: it is not the next one, its sheet is not shaped as the ones before, or a row is incomplete.
        """
        done = len(self.rows[TABLE])
        wanted = self._expected[done] if done < len(self._expected) else None
        if sample.index != wanted:
            raise ValueError(f"item {sample.index} where the shard expects {wanted}")
        if sample.image:
            self._check_sheet(sample)
        self._check_rows(TABLE, [{**dict.fromkeys(META.names, ""), **sample.row}])
        for name, rows in sample.tables.items():
            self._check_rows(name, rows)
        self.rows[TABLE].append(sample.write(self._tar))
        self.members += len(sample.members())
        for name, rows in sample.tables.items():
            self.rows[name].extend(rows)

    def close(self) -> None:
        """End the tar.

        Raises:
            ValueError: items are missing.
        """
        if len(self.rows[TABLE]) != len(self._expected):
            raise ValueError(f"{len(self.rows[TABLE])} items of {len(self._expected)}")
        self._tar.close()

    def discard(self) -> None:
        """Let go of the file."""
        self._tar.discard()

    def _check_sheet(self, sample: Sample) -> None:
        own = shape(sample.sheet)
        self.sheet = self.sheet or own
        if own != self.sheet:
            odd = sorted(name for name in {*own, *self.sheet} if own.get(name) != self.sheet.get(name))
            raise ValueError(f"item {sample.index}: its score sheet differs from the others in {', '.join(odd)}")

    def _check_rows(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        names = {*self._tables[table].names}
        for row in rows:
            if row.keys() != names or any(map(operator.is_, row.values(), itertools.repeat(None))):
                odd = sorted({*row} ^ names) or sorted(name for name in row if row[name] is None)
                raise ValueError(f"table {table}: a row with unknown, missing or null {', '.join(odd)}")
