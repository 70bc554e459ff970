"""What a sharded output holds by its own word: run.json, the commit records, and what they name.

`irgen.shards.commit` tells how it comes about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irgen import files
from irgen.errors import StoreError

RUN = "run.json"
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


def record_path(folder: Path, number: int) -> Path:
    """Return where a shard's commit record lies."""
    return folder / COMMIT / f"{number:06d}.json"


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
    record = files.read_sealed(record_path(folder, number))
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
