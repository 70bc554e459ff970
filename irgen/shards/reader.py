"""Reading sharded outputs: by the manifest where it is complete, else by the commit records; never by a glob."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from irgen import store
from irgen.errors import StoreError
from irgen.places import REMAKE
from irgen.shards.committed import SHARDS, TABLE, read_run, records

IMAGE_FORMATS: tuple[Literal["png", "jpg"], ...] = ("png", "jpg")
SUFFIXES = (*IMAGE_FORMATS, "json", "txt")
"""Members with another suffix are refused: some readers run what they find in .pkl or .pyd."""


@dataclass(frozen=True)
class Record:
    """One image of a shard.

    Attributes:
        key: its name.
        image: the encoded file's bytes.
        image_format: png or jpg.
        sheet: the score sheet.
        caption: bare.
    """

    key: str
    image: bytes
    image_format: Literal["png", "jpg"]
    sheet: dict[str, Any]
    caption: str


def parts(folder: Path, name: str) -> list[Path]:
    """Return the files of one part (shards, meta, or another table), in order, each there in its full length.

    Raises:
        StoreError: the manifest or a commit record is damaged, or a file is missing or cut.
    """
    if (folder / store.MANIFEST).exists():
        rows = [row for row in store.read_manifest(folder)["files"] if row["path"].startswith(f"{name}/")]
    else:
        rows = [record["parts"][name] for record in records(folder) if name in record["parts"]]
    for row in rows:
        path = folder / row["path"]
        if not path.is_file() or path.stat().st_size != row["bytes"]:
            wrong = f"is not of its {row['bytes']} bytes" if path.is_file() else "missing"
            raise StoreError(f"{path}: {wrong}", REMAKE)
    return sorted(folder / row["path"] for row in rows)


def table(folder: Path, name: str = TABLE, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of all shards, or some of its columns, in order; empty where there is none."""
    tables = [_table(path, columns=columns and list(columns)) for path in parts(folder, name)]
    return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame()


def candidates(folder: Path) -> pd.DataFrame:
    """Read the scores of all candidates of a samples output."""
    return table(folder, "candidates")


def read(folder: Path) -> Iterator[Record]:
    """Yield the images of a sharded output in the order of their keys.

    A tar alone cannot tell that it is whole: to its readers a damaged header is the end. Its table can.

    Raises:
        StoreError: a shard is damaged, or has not the images of its table.
    """
    for meta, tar in zip(parts(folder, TABLE), parts(folder, SHARDS), strict=True):
        rows = _table(meta, columns=["key", "sha256"], filters=[("status", "=", "ok")]).to_pylist()
        for row, record in zip_longest(rows, read_shard(tar)):
            if row is None or record is None or record.key != row["key"]:
                raise StoreError(f"{tar}: has not the images of its table", REMAKE)
            if hashlib.sha256(record.image).hexdigest() != row["sha256"]:
                raise StoreError(f"{tar}: image {record.key} was changed", REMAKE)
            yield record


def read_shard(path: Path) -> Iterator[Record]:
    """Yield the images of one tar.

    Raises:
        StoreError: it is damaged, or holds what does not belong there.
    """
    members: dict[str, bytes] = {}
    current = ""
    for info, data in tar_members(path):
        key, _, suffix = info.name.partition(".")
        if key != current:
            if key < current:
                raise StoreError(f"{path}: {info.name} comes after {current}", REMAKE)
            if members:
                yield _record(path, current, members)
            members = {}
        if suffix in members:
            raise StoreError(f"{path}: holds {info.name} twice", REMAKE)
        current = key
        members[suffix] = data
    if members:
        yield _record(path, current, members)


def tar_members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield the members of a tar, plain files with known suffixes only.

    Raises:
        StoreError: damaged, or another kind of member.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                # A sparse member claims any length without having it; irgen writes neither those nor pax headers.
                is_plain = info.type == tarfile.REGTYPE and not info.pax_headers and info.sparse is None
                if not is_plain or not key.isdecimal() or suffix not in SUFFIXES:
                    raise StoreError(f"{path}: holds {info.name!r}, which does not belong there", REMAKE)
                stream = tar.extractfile(info)
                data = stream.read() if stream else b""
                if len(data) != info.size:
                    raise StoreError(f"{path}: {info.name} is cut", REMAKE)
                yield info, data
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise StoreError(f"{path}: not a sound tar ({error})", REMAKE) from error


def image(folder: Path, key: str) -> bytes:
    """Return one image's encoded file, by its offset, without reading the shard.

    Raises:
        StoreError: no such image, or it is damaged.
    """
    metas = {int(path.name.partition("-")[0]): path for path in parts(folder, TABLE)}
    tars = {int(path.name.partition("-")[0]): path for path in parts(folder, SHARDS)}
    for number, items in enumerate(read_run(folder)):
        if number not in metas or not key.isdigit() or int(key) not in items:
            continue
        for row in _table(metas[number], filters=[("key", "=", key), ("status", "=", "ok")]).to_pylist():
            with tars[number].open("rb") as stream:
                stream.seek(row["offset"])
                data = stream.read(row["bytes"])
            if hashlib.sha256(data).hexdigest() != row["sha256"]:
                raise StoreError(f"{tars[number]}: {row['member']} was changed", REMAKE)
            return data
    raise StoreError(f"{folder}: has no image {key}")


def _table(path: Path, **what: Any) -> pa.Table:
    """Read a Parquet file, or what of it is wanted."""
    try:
        return pq.read_table(path, **what)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(f"{path}: not a sound table ({str(error).splitlines()[0]})", REMAKE) from error


def _record(path: Path, key: str, members: dict[str, bytes]) -> Record:
    for image_format in IMAGE_FORMATS:
        if set(members) == {image_format, "json", "txt"}:
            try:
                sheet, caption = json.loads(members["json"]), members["txt"].decode()
            except (ValueError, RecursionError) as error:
                raise StoreError(f"{path}: record {key} is damaged ({error})", REMAKE) from error
            return Record(key, members[image_format], image_format, sheet, caption)
    raise StoreError(f"{path}: record {key} has members {sorted(members)}", REMAKE)
