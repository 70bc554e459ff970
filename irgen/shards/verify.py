"""Finding every byte that is not what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from irgen import files, progress, store
from irgen.errors import StoreError
from irgen.shards.commit import COMMIT, RUN, SHARDS, TABLE, orphans
from irgen.shards.reader import tar_members
from irgen.shards.sample import key


def verify(path: Path) -> list[str]:
    """Check an output, a dataset or a whole data folder; return a line for each thing that is wrong.

    Finished outputs are compared with their manifests, unfinished sharded ones with their commit records.

    Raises:
        StoreError: there is nothing to verify.
    """
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder", "Name a dataset or a stage's output.")
    folders = outputs(path)
    if not folders:
        raise StoreError(f"{path}: holds no output of a stage", "Name a dataset or a stage's output.")
    found = []
    with progress.bar("verify", len(folders)) as advance:
        for folder in folders:
            found.extend(_problems(folder))
            advance(1)
    return found


def outputs(path: Path) -> list[Path]:
    """List the outputs at or below a folder: those with a manifest, and sharded ones without."""
    marks = [*path.rglob(store.MANIFEST), *path.rglob(RUN)]
    return sorted({mark.parent for mark in marks if files.TMP not in mark.parts})


def _problems(folder: Path) -> Iterator[str]:
    if (folder / store.MANIFEST).exists():
        yield from store.problems(folder)
    if (folder / COMMIT).is_dir():
        yield from _shard_problems(folder)


def _shard_problems(folder: Path) -> Iterator[str]:
    try:
        run = json.loads((folder / RUN).read_bytes())
        items, per_shard = int(run["items"]), int(run["items_per_shard"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{folder / RUN}: unreadable or damaged ({error})"
        return
    if (folder / RUN).read_bytes() != files.json_bytes(run):
        yield f"{folder / RUN}: was changed after it was written"
    finished = (folder / store.MANIFEST).exists()
    if not finished:
        yield f"{folder}: not finished (no {store.MANIFEST}); its stage carries on when run again"
    for number in range(-(-items // per_shard)):
        record = folder / COMMIT / f"{number:06d}.json"
        keys = [key(index) for index in range(number * per_shard, min((number + 1) * per_shard, items))]
        if record.exists():
            yield from _record_problems(folder, record, keys)
        elif finished:
            yield f"{record}: missing"
    if finished:
        # A damaged record has been told above.
        with contextlib.suppress(StoreError):
            yield from [f"{path}: no commit record names it" for path in orphans(folder)]


def _record_problems(folder: Path, path: Path, keys: list[str]) -> Iterator[str]:
    try:
        record = json.loads(path.read_bytes())
        if path.read_bytes() != files.json_bytes(record):
            raise ValueError("its bytes are not those that were written")
        parts, members, rows = record["parts"], record["members"], record["rows"]
        places = {name: (folder / part["path"], part["sha256"], part["bytes"]) for name, part in parts.items()}
        tar, meta = places[SHARDS][0], places[TABLE][0]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{path}: damaged ({error})"
        return
    if rows != len(keys):
        yield f"{path}: {rows} rows, {len(keys)} expected"
    sound = True
    for file, sha256, size in places.values():
        if not file.is_file() or file.stat().st_size != size or files.sha256_file(file) != sha256:
            sound = False
            yield f"{file}: {'differs from its commit record' if file.is_file() else 'missing'}"
    if sound:
        try:
            yield from _content_problems(tar, pq.read_table(meta).to_pylist(), members, keys)
        except (StoreError, OSError, ValueError, KeyError) as error:
            yield f"{tar}: {error}"


def _content_problems(tar: Path, rows: list[dict[str, Any]], members: int, keys: list[str]) -> Iterator[str]:
    if [row["key"] for row in rows] != keys:
        yield f"{tar}: its table's keys are not {keys[0]} to {keys[-1]}, each once and in order"
    held = [(name, hashlib.sha256(data).hexdigest()) for name, data in tar_members(tar)]
    if len(held) != members:
        yield f"{tar}: {len(held)} members, its commit record says {members}"
    names = [name for name, _ in held]
    wanted = [
        f"{row['key']}.{suffix}"
        for row in rows
        if row["status"] == "ok"
        for suffix in (row["member"].partition(".")[2], "json", "txt")
    ]
    if names != wanted:
        odd = sorted(set(names) ^ set(wanted)) or "the order"
        yield f"{tar}: its members are not those of its table: {odd}"
    digests = dict(held)
    for row in rows:
        if row["status"] == "ok" and digests.get(row["member"]) != row["sha256"]:
            yield f"{tar}: {row['member']} is not the image of its table"
