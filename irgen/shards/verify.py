"""Finding every byte that is not what was written."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files, progress, store
from irgen.errors import StoreError
from irgen.shards.committed import COMMIT, RUN, SHARDS, TABLE, orphans, read_run, record_path
from irgen.shards.reader import tar_members
from irgen.shards.sample import key, shape

Sha256 = Callable[[Path], str]
SUMMARY = "summary.json"
STAGE = "[0-9][0-9]-*"
"""Names of the folders of stages."""
THREADS = min(16, 2 * (os.cpu_count() or 1))
"""Hashing and reading let go of the interpreter's lock."""


def verify(path: Path) -> list[str]:
    """Check an output, a dataset or a whole data folder; return a line for each thing that is wrong.

    Finished outputs are compared with their manifests, unfinished sharded ones with their commit records; that an
    output is not finished is nothing wrong (see `unfinished`).

    Raises:
        StoreError: there is nothing to verify.
    """
    folders = _existing_outputs(path)
    inside = sorted({file for folder in folders for file in files.below(folder)})
    sizes = {file: file.stat().st_size for file in inside if file.is_file()}
    with progress.bar("verify", sum(sizes.values())) as advance, ThreadPoolExecutor(THREADS) as pool:
        # Ahead of the comparisons, which ask for them in the same order, and each once.
        digests = {file: pool.submit(files.sha256_file, file) for file in sizes}
        for file, digest in digests.items():
            digest.add_done_callback(functools.partial(_advance, advance, sizes[file]))

        def sha256(file: Path) -> str:
            return digests[file].result() if file in digests else files.sha256_file(file)

        found = [line for folder in folders for line in _told(folder, _problems(folder, sha256))]
    return found + [line for summary in _summaries(path) for line in _sealed_problems(summary)]


def _advance(advance: progress.Advance, size: int, _: Future[str]) -> None:
    advance(size)


def unfinished(path: Path) -> list[str]:
    """List the outputs at or below a folder that a run began and did not finish, a line each.

    Raises:
        StoreError: there is none at all, finished or not.
    """
    return [
        f"{folder}: not finished (no {store.MANIFEST}); its stage carries on when run again, `irgen gc` removes what "
        "was abandoned"
        for folder in _existing_outputs(path)
        if not (folder / store.MANIFEST).exists()
    ]


def outputs(path: Path) -> list[Path]:
    """List the outputs at or below a folder: those that were finished, and sharded ones that were not.

    Datasets and folders of stages may be links, to a larger disk, say.
    """
    found: set[Path] = set()
    been, queue = set(), [path]
    while queue:
        here = queue.pop()
        if (place := here.resolve()) in been:
            continue
        been.add(place)
        listed = files.below(here)
        found |= {mark.parent for mark in listed if mark.name in (store.MANIFEST, store.COST, RUN)}
        queue += [link for link in listed if link.is_symlink() and link.is_dir() and _holds_outputs(link)]
    return sorted(found)


def _holds_outputs(link: Path) -> bool:
    return fnmatch.fnmatch(link.name, STAGE) or any(link.glob(STAGE))


def _existing_outputs(path: Path) -> list[Path]:
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder", "Name a dataset or a stage's output.")
    found = outputs(path)
    if not found:
        raise StoreError(f"{path}: holds no output of a stage", "Name a dataset or a stage's output.")
    return found


def _told(folder: Path, found: Iterator[str]) -> Iterator[str]:
    """Pass problems on, each in one line; what cannot be read is one, too, and ends the output's."""
    try:
        for line in found:
            yield " ".join(line.split("\n"))
    except OSError as error:
        yield f"{error.filename or folder}: cannot be read ({error.strerror or error})"


def _summaries(path: Path) -> list[Path]:
    """List the summaries of whole datasets at or below a folder."""
    named = [each for each in files.below(path) if each.name == SUMMARY]
    return [each for each in named if any(each.parent.glob(f"[0-9][0-9]-*/*/{store.MANIFEST}"))]


def _sealed_problems(path: Path) -> Iterator[str]:
    try:
        files.read_sealed(path)
    except (OSError, ValueError) as error:
        yield f"{path}: {error}"


def _problems(folder: Path, sha256: Sha256) -> Iterator[str]:
    finished = (folder / store.MANIFEST).exists()
    if finished:
        yield from store.problems(folder, sha256=sha256)
    if (folder / store.COST).exists():
        yield from _sealed_problems(folder / store.COST)
    if (folder / RUN).exists() or (folder / COMMIT).is_dir():
        yield from _shard_problems(folder, finished, sha256)


def _shard_problems(folder: Path, finished: bool, sha256: Sha256) -> Iterator[str]:
    try:
        shards = read_run(folder)
    except StoreError as error:
        yield error.what
        return
    shapes: set[bytes] = set()
    for number, items in enumerate(shards):
        if record_path(folder, number).exists():
            yield from _record_problems(folder, number, items, sha256, shapes)
        elif finished:
            yield f"{record_path(folder, number)}: missing"
    if len(shapes) > 1:
        yield f"{folder}: score sheets differ in their fields from shard to shard"
    if finished:
        # A damaged record has been told above.
        with contextlib.suppress(StoreError):
            yield from [f"{path}: no commit record names it" for path in orphans(folder)]


def _record_problems(folder: Path, number: int, items: range, sha256: Sha256, shapes: set[bytes]) -> Iterator[str]:
    path = record_path(folder, number)
    try:
        record = files.read_sealed(path)
        parts = {
            name: (files.inside(folder, part["path"]), part["sha256"], part["bytes"])
            for name, part in record["parts"].items()
        }
        tar, meta = parts[SHARDS][0], parts[TABLE][0]
        own = (record["shard"], record["rows"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{path}: damaged ({error})"
        return
    if own != (number, len(items)):
        yield f"{path}: speaks of shard {own[0]} with {own[1]} rows, expected are {number} and {len(items)}"
    sound = True
    for file, digest, size in parts.values():
        if not file.is_file() or file.stat().st_size != size or sha256(file) != digest:
            sound = False
            yield f"{file}: {'differs from its commit record' if file.is_file() else 'missing'}"
    if not sound:
        return
    try:
        yield from _content_problems(tar, pq.read_table(meta).to_pylist(), record, items)
    except StoreError as error:
        yield error.what
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        yield f"{tar}: does not fit its table or commit record ({error})"
    if record["sheet"]:
        shapes.add(files.canonical_json(record["sheet"]))


def _content_problems(tar: Path, rows: list[dict[str, Any]], record: dict[str, Any], items: range) -> Iterator[str]:
    """Compare a tar with its table, member by member."""
    if [row["key"] for row in rows] != [key(index) for index in items]:
        yield f"{tar}: its table's keys are not {key(items[0])} to {key(items[-1])}, each once and in order"
    wanted = {row["member"]: row for row in rows if row["status"] == "ok"}
    names = []
    for info, data in tar_members(tar):
        names.append(info.name)
        row = wanted.get(info.name)
        if row is not None:
            digest = hashlib.sha256(data).hexdigest()
            if (digest, info.offset_data, info.size) != (row["sha256"], row["offset"], row["bytes"]):
                yield f"{tar}: {info.name} is not the image of its table, or not in its place"
        elif info.name.endswith(".json") and shape(json.loads(data)) != record["sheet"]:
            yield f"{tar}: {info.name} has other fields than its commit record says"
    expected = [f"{row['key']}.{suffix}" for name, row in wanted.items() for suffix in (name[-3:], "json", "txt")]
    if names != expected or len(names) != record["members"]:
        odd = sorted({*names} ^ {*expected}) or f"{len(names)} of {record['members']}, or their order"
        yield f"{tar}: its members are not those of its table: {odd}"
