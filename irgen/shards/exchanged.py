"""A sharded output whose writers share no folder: its shards lie on object storage until one machine fetches them.

```
run.json                        what the shards belong to; the first put wins, others are refused
claim/000123.0                  a writer is at shard 123; .1 is the second that took it on, and so on
shards/, meta/, ..., commit/    as in a folder (`irgen.shards.commit`); the record is put if nothing has its name
```

A claim is never given up, and says nothing of whether its writer lives: a writer takes one of the shards that fewest
have taken on. While there are shards that nobody is at, no work is done twice; after them the slow and the lost ones
are made again by those who have nothing else to do, and the first commit record counts.
"""

from __future__ import annotations

import logging
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from irgen import files, store
from irgen.errors import StoreError
from irgen.objects import Objects
from irgen.shards.commit import RECORD, ShardedOutput, scratch_in
from irgen.shards.committed import COMMIT, RUN, parse_record, read_run, record_name, record_path, records, sound
from irgen.shards.transfer import Upload, differs, fetch, row_of
from irgen.shards.writer import ShardWriter

log = logging.getLogger(__name__)

CLAIM = "claim"
T = TypeVar("T")


class Exchange:
    """The shards of one output on object storage, and who is at which."""

    def __init__(self, url: str) -> None:
        self._there = Objects(url, f"Remove what lies under {url}, and run the same again.")

    def __str__(self) -> str:
        return str(self._there)

    def enter(self, folder: Path) -> None:
        """Compare `run.json`, or bring it.

        Raises:
            StoreError: shards of something else lie there, or the storage knows no conditions.
        """
        Upload(folder, self._there).claim(row_of(folder, RUN))

    def committed(self) -> set[int]:
        """Return the shards that are there."""
        return set(_numbers(self._there.sizes(f"{COMMIT}/")))

    def claim(self, count: int, note: Path) -> int | None:
        """Take on a shard; None when all are there.

        Args:
            count: shards in all.
            note: file that says who takes it, for people.
        """
        while left := sorted(set(range(count)) - self.committed()):
            taken = Counter(_numbers(self._there.sizes(f"{CLAIM}/")))
            fewest = min(taken[number] for number in left)
            # Not the first: all who look at the same time would want that one.
            number = random.choice([each for each in left if taken[each] == fewest])
            if self._there.put_first(f"{CLAIM}/{number:06d}.{fewest}", note, files.sha256_file(note)):
                return number
        return None

    def give(self, record: Mapping[str, Any], sources: Mapping[str, Path], sealed: Path) -> None:
        """Put a shard there, its commit record last and only if there is none.

        Args:
            record: its commit record.
            sources: its files, by name of the part.
            sealed: file of the record.
        """
        for name, part in record["parts"].items():
            self._there.put(part["path"], sources[name], part["sha256"])
        self._there.put_first(record_name(record["shard"]), sealed, files.sha256_file(sealed))

    def take(self, number: int, folder: Path) -> bool:
        """Fetch a shard into a folder, its commit record last; return False if the folder has one.

        Raises:
            StoreError: it is not there, or damaged.
        """
        if record_path(folder, number).exists():
            return False
        self._bring(RUN, folder)
        data = self._there.read(record_name(number))
        try:
            record = parse_record(data, folder)
        except ValueError as error:
            where = f"{self._there}/{record_name(number)}"
            raise StoreError(f"{where}: damaged ({error})", self._there.mend) from error
        for part in record["parts"].values():
            if not (folder / part["path"]).exists() or differs(folder, part):
                fetch(self._there, folder, part)
        files.write_bytes(record_path(folder, number), data)
        return True

    def agree(self, folder: Path) -> bool:
        """Make what was measured in a folder the same everywhere: the first put of each file counts.

        Returns:
            Whether the folder's files stay what they are; the others are replaced.
        """
        same = True
        for name in _measured(path.relative_to(folder).as_posix() for path in files.below(folder)):
            row = row_of(folder, name)
            if self._there.put_first(name, folder / name, row["sha256"]):
                continue
            if (sha256 := self._there.sha256(name)) != row["sha256"]:
                same = False
                fetch(self._there, folder, {**row, "sha256": sha256})
        return same

    def bring_measured(self, folder: Path) -> None:
        """Fetch what others measured and the folder lacks."""
        for name in _measured(self._there.sizes()):
            self._bring(name, folder)

    def sync(self, folder: Path) -> None:
        """Give what shards a folder has and what was measured there, and fetch all others and what it lacks."""
        there = self.committed()
        if (folder / RUN).exists():
            self.enter(folder)
            self.agree(folder)
            self._withdraw(folder, there)
            for record in records(folder):
                if record["shard"] not in there:
                    sources = {name: folder / part["path"] for name, part in record["parts"].items()}
                    self.give(record, sources, record_path(folder, record["shard"]))
        for number in sorted(there):
            self.take(number, folder)
        self.bring_measured(folder)

    def clear(self) -> None:
        """Remove all that is there."""
        self._there.remove(self._there.sizes())

    def _withdraw(self, folder: Path, there: Collection[int]) -> None:
        """Remove commit records of shards that were damaged in a folder; what is to be given is read as a whole."""
        for number in range(len(read_run(folder))):
            path = record_path(folder, number)
            if path.exists() and not sound(folder, number, hashes=number not in there):
                log.warning("%s: its shard was damaged; it is fetched or made again", path)
                files.remove(path)

    def _bring(self, name: str, folder: Path) -> None:
        if not (folder / name).exists():
            fetch(self._there, folder, {"path": name, "sha256": self._there.sha256(name)})


class ExchangedOutput(ShardedOutput):
    """A sharded output under construction on object storage; its folder on this machine has what was measured."""

    _exchange: Exchange

    @classmethod
    def join(cls, url: str, folder: Path, **arguments: Any) -> Self:
        """Begin an output, or go on with it.

        Args:
            url: s3://BUCKET/PREFIX, for this output alone.
            folder: of this machine.
            arguments: of `open`.

        Raises:
            SettingsError: an address that is none, or no package to reach it.
            StoreError: as `open`; or the storage refuses, or knows no conditions.
        """
        output = cls.open(folder, **arguments)
        output._exchange = Exchange(url)
        output._exchange.enter(folder)
        return output

    def measured(self, measure: Callable[[], T]) -> T:
        """Measure what is to be known before the first item; where two machines do, both go by the first."""
        while True:
            self._exchange.bring_measured(self.folder)
            found = super().measured(measure)
            if self._exchange.agree(self.folder):
                return found

    def missing(self) -> list[int]:
        """Return the shards without a commit record."""
        return sorted(set(range(self.count)) - self._exchange.committed())

    def pending(self) -> Iterator[int]:
        """Yield missing shards that nobody is at, then those that others have not ended yet."""
        with scratch_in(self.folder, CLAIM) as scratch:
            note = scratch / CLAIM
            files.write_scratch(note, files.json_bytes({"host": socket.gethostname(), "process": os.getpid()}))
            while (number := self._exchange.claim(self.count, note)) is not None:
                yield number

    def _commit(self, number: int, writer: ShardWriter, scratch: Path) -> None:
        sources, record = self._finished(number, writer, scratch)
        files.write_scratch(scratch / RECORD, files.sealed(record))
        self._exchange.give(record, sources, scratch / RECORD)


def begin(folder: Path, exchange: str = "", **arguments: Any) -> ShardedOutput:
    """Begin an output, or go on with it, as `ShardedOutput.open`; on object storage where an address is given."""
    return ExchangedOutput.join(exchange, folder, **arguments) if exchange else ShardedOutput.open(folder, **arguments)


def _numbers(names: Iterable[str]) -> Iterator[int]:
    """Yield the shards that records or claims are about; what somebody else put there is about none."""
    for name in names:
        number, dot, _ = name.rpartition("/")[2].partition(".")
        if dot and number.isdecimal():
            yield int(number)


def _measured(names: Iterable[str]) -> list[str]:
    """Choose what is not of the shards."""
    return [name for name in names if "/" not in name and name not in (RUN, store.MANIFEST, store.COST)]
