"""Reading sharded outputs: by the manifest where it is complete, else by the commit records; never by a glob."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from irgen import store
from irgen.errors import StoreError
from irgen.shards.commit import SHARDS, TABLE, records

SUFFIXES = ("png", "jpg", "json", "txt")
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
    image_format: str
    sheet: dict[str, Any]
    caption: str


def parts(folder: Path, name: str) -> list[Path]:
    """Return the files of one part (shards, meta, or another table), in order.

    Raises:
        StoreError: the manifest or a commit record is damaged, or a file is missing.
    """
    if (folder / store.MANIFEST).exists():
        listed = {row["path"] for row in store.read_manifest(folder)["files"]}
        names = sorted(path for path in listed if path.startswith(f"{name}/"))
    else:
        names = [record["parts"][name]["path"] for record in records(folder) if name in record["parts"]]
    for path in names:
        if not (folder / path).is_file():
            raise StoreError(f"{folder / path}: missing", "Run `irgen verify`, then the stage again.")
    return [folder / path for path in names]


def table(folder: Path, name: str = TABLE) -> pd.DataFrame:
    """Read a table of all shards, in order; empty where there is none."""
    tables = [pq.read_table(path) for path in parts(folder, name)]
    return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame()


def candidates(folder: Path) -> pd.DataFrame:
    """Read the scores of all candidates of a samples output."""
    return table(folder, "candidates")


def read(folder: Path) -> Iterator[Record]:
    """Yield the images of a sharded output in the order of their keys.

    Raises:
        StoreError: a shard is damaged.
    """
    for path in parts(folder, SHARDS):
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Record]:
    """Yield the images of one tar.

    Raises:
        StoreError: it is damaged, or holds what does not belong there.
    """
    members: dict[str, bytes] = {}
    current = ""
    for name, data in tar_members(path):
        key = name.partition(".")[0]
        if key != current and members:
            yield _record(path, current, members)
            members = {}
        current = key
        members[name.partition(".")[2]] = data
    if members:
        yield _record(path, current, members)


def tar_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a tar, plain files with known suffixes only.

    Raises:
        StoreError: damaged, or another kind of member.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                if not info.isreg() or not key.isdigit() or suffix not in SUFFIXES:
                    raise StoreError(f"{path}: holds {info.name!r}, which does not belong there")
                stream = tar.extractfile(info)
                data = stream.read() if stream else b""
                if len(data) != info.size:
                    raise StoreError(f"{path}: {info.name} is cut")
                yield info.name, data
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"{path}: not a sound tar ({error})") from error


def image(folder: Path, key: str) -> bytes:
    """Return one image's encoded file, by its offset, without reading the shard.

    Raises:
        StoreError: no such image.
    """
    for meta, shard in zip(parts(folder, TABLE), parts(folder, SHARDS), strict=True):
        rows = pq.read_table(meta, filters=[("key", "=", key)]).to_pylist()
        if rows and rows[0]["status"] == "ok":
            with shard.open("rb") as stream:
                stream.seek(rows[0]["offset"])
                return stream.read(rows[0]["bytes"])
    raise StoreError(f"{folder}: has no image {key}")


def _record(path: Path, key: str, members: dict[str, bytes]) -> Record:
    image_format = next((suffix for suffix in ("png", "jpg") if suffix in members), "")
    if set(members) != {image_format, "json", "txt"}:
        raise StoreError(f"{path}: record {key} has members {sorted(members)}")
    return Record(key, members[image_format], image_format, json.loads(members["json"]), members["txt"].decode())
