"""What a sharded output holds by its own word: run.json, the commit records, and what they name.

`irgen.shards.commit` tells how it comes about.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from irgen import files, store
from irgen.errors import StoreError

log = logging.getLogger(__name__)

RUN = store.RUN
SHARDS, TABLE, COMMIT = "shards", "meta", "commit"


def read_run(folder: Path) -> list[range]:
    """Return the items of every shard of an output, as its run.json says.

    Raises:
        StoreError: run.json is missing or damaged.
    """
    path = folder / RUN
    try:
        run = files.read_sealed(path)
        items, per_shard = int(run["items"]), int(run["items_per_shard"])
        if items < 0 or per_shard < 1:
            raise ValueError(f"{items} items, {per_shard} a shard")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: unreadable or damaged ({error})", "Remove its folder and run its stage.") from error
    return [range(start, min(start + per_shard, items)) for start in range(0, items, per_shard)]


def record_name(number: int) -> str:
    """Return the name that a shard's commit record has in its output."""
    return f"{COMMIT}/{number:06d}.json"


def record_path(folder: Path, number: int) -> Path:
    """Return where a shard's commit record lies."""
    return folder / record_name(number)


def records(folder: Path) -> list[dict[str, Any]]:
    """Read the commit records that are there, in order.

    Raises:
        StoreError: one of them, or run.json, is damaged.
    """
    found = []
    for number in range(len(read_run(folder))):
        path = record_path(folder, number)
        try:
            found.append(read_record(folder, number))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: {error}", "Run its stage again.") from error
    return found


def read_record(folder: Path, number: int) -> dict[str, Any]:
    """Read a shard's commit record.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or names files outside the output.
    """
    return parse_record(files.read_bytes(record_path(folder, number)), folder)


def parse_record(data: bytes, folder: Path) -> dict[str, Any]:
    """Decode and check a commit record, wherever it lay.

    Args:
        data: its bytes.
        folder: of the output.

    Raises:
        ValueError: it is damaged, or names files outside the output.
    """
    record = files.unsealed(data)
    try:
        for part in record["parts"].values():
            files.inside(folder, part["path"])
            if not isinstance(part["sha256"], str) or not isinstance(part["bytes"], int):
                raise ValueError(f"says no size or digest of {part['path']}")
        if {"shard", "rows", "members", "sheet"} - {*record}:
            raise ValueError("lacks a field")
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a commit record ({error})") from error
    return record


def sound(folder: Path, number: int, parts: Collection[str] = (), *, hashes: bool = False) -> bool:
    """Say whether a shard's commit record and the files that it names are there and sound.

    Args:
        folder: of the output.
        number: of the shard.
        parts: names of the parts that it must have; empty for whatever its record says.
        hashes: whether to read the files, not only their sizes.

    Raises:
        OSError: one cannot be read; that costs the run, and not the shard.
    """
    try:
        record = read_record(folder, number)
    except FileNotFoundError:
        return False
    except ValueError as error:
        log.warning("%s: %s; its shard is made again", record_path(folder, number), error)
        return False
    if record["shard"] != number or (parts and {*record["parts"]} != {*parts}):
        return False
    for part in record["parts"].values():
        path = folder / part["path"]
        if not path.is_file() or path.stat().st_size != part["bytes"]:
            return False
        if hashes and files.sha256_file(path) != part["sha256"]:
            return False
    return True


def orphans(folder: Path) -> list[Path]:
    """List what lies among shards, tables and commit records without being one that was committed.

    Raises:
        StoreError: run.json or a commit record is damaged.
    """
    committed = records(folder)
    named = {str(part["path"]) for record in committed for part in record["parts"].values()}
    named |= {record_path(folder, record["shard"]).relative_to(folder).as_posix() for record in committed}
    folders = {name.split("/")[0] for name in named} | {SHARDS, TABLE, COMMIT}
    return [
        path
        for part in sorted(folders)
        for path in sorted((folder / part).glob("*"))
        if path.relative_to(folder).as_posix() not in named and path.name != files.TMP
    ]
