"""A finished dataset on object storage: put there, checked there, fetched from there.

It lies there as in its folder, name by name, and appears in the folder's order: `run.json`, which keeps other datasets
out; each shard's tar and tables, which are named by content, and then its commit record; all else; `manifest.json`
last. Records are put on the condition that nothing has their name, so that of several writers exactly one wins, and
the others see whether it wrote the same. Who was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irgen import files, progress, store
from irgen.errors import StoreError
from irgen.objects import Objects
from irgen.shards.committed import RUN, record_name, records
from irgen.shards.dataset import find
from irgen.shards.transfer import Row, Upload, differs, each, fetch, row_of


@dataclass(frozen=True)
class Copied:
    """What a copy took.

    Attributes:
        source, target: from where to where.
        files: in all.
        bytes: of them.
        moved: files that were not there already.
    """

    source: str
    target: str
    files: int
    bytes: int
    moved: int


def push(path: Path, url: str) -> Copied:
    """Put a finished dataset on object storage, or what of it is not there yet.

    Args:
        path: a dataset's folder (its newest finished shards), or one output of stage shards.
        url: s3://BUCKET/PREFIX; for this dataset alone.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: no such dataset, or a damaged one; another dataset lies there; or the storage refuses.
    """
    folder, there = find(path), Objects(url)
    if found := store.problems(folder):
        raise StoreError(found[0], "`irgen repair` it, then push it again.")
    manifest = store.read_manifest(folder)
    upload = Upload(folder, there)
    rows = {row["path"]: row for row in manifest["files"]}
    seal = row_of(folder, store.MANIFEST)
    upload.look(seal)
    moved = upload.claim(rows[RUN])
    shards = [[*record["parts"].values(), rows[record_name(record["shard"])]] for record in records(folder)]
    placed = {row["path"] for shard in shards for row in shard} | {RUN}
    with progress.bar("push", sum(row["bytes"] for row in rows.values())) as advance:
        moved += sum(each(upload.shard, shards, advance))
        moved += sum(each(upload.record, [row for name, row in rows.items() if name not in placed], advance))
    sizes = there.sizes()
    if lost := [name for name, row in rows.items() if sizes.get(name) != row["bytes"]]:
        raise StoreError(f"{there}/{lost[0]}: not there in its full length after it was put", there.mend)
    moved += upload.record(seal)
    return Copied(str(folder), str(there), len(rows) + 1, sum(row["bytes"] for row in rows.values()), moved)


def offer(folder: Path, there: Objects) -> None:
    """Put a finished output of any stage where nobody else's lies, for `bring`; what of it is there already stays.

    Raises:
        StoreError: it is not finished, something else lies there, or the storage refuses.
    """
    upload, seal = Upload(folder, there), row_of(folder, store.MANIFEST)
    upload.look(seal)
    rows = store.read_manifest(folder)["files"]
    with progress.bar(f"put {folder.parent.name}", sum(row["bytes"] for row in rows)) as advance:
        each(upload.record, rows, advance)
    upload.record(seal)


def pull(url: str, folder: Path) -> Copied:
    """Fetch a dataset from object storage into a folder, or what of it is not there yet; every byte is checked.

    Args:
        url: where it was pushed to.
        folder: new, empty, or of an interrupted pull of the same dataset.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: no finished dataset there, a damaged one, or the folder holds something else.
    """
    return bring(Objects(url), folder)


def bring(there: Objects, folder: Path) -> Copied:
    """Fetch a finished output of any stage, as `pull`."""
    data, manifest = _manifest(there)
    rows = manifest["files"]
    known = {row["path"] for row in rows} | {store.MANIFEST, store.COST}
    here = {path.relative_to(folder).as_posix() for path in files.below(folder)} if folder.exists() else set()
    if odd := sorted(here - known):
        raise StoreError(f"{folder}: holds {odd[0]}, which is not of {there}", "Name a folder that is empty or new.")
    missing = [row for row in rows if row["path"] not in here or differs(folder, row)]
    with progress.bar("pull", sum(row["bytes"] for row in missing)) as advance:
        each(lambda row: fetch(there, folder, row), missing, advance)
    files.write_bytes(folder / store.MANIFEST, data)
    return Copied(str(there), str(folder), len(rows) + 1, sum(row["bytes"] for row in rows), len(missing))


def verify(url: str) -> list[str]:
    """Read every byte of a dataset on object storage; return a line for each thing that is wrong.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: no finished dataset lies there, or the storage refuses.
    """
    there = Objects(url)
    _, manifest = _manifest(there)
    sizes, rows = there.sizes(), manifest["files"]
    with progress.bar("verify", sum(row["bytes"] for row in rows)) as advance:
        found = [line for line in each(lambda row: _problem(there, sizes, row), rows, advance) if line]
    odd = sorted(sizes.keys() - {row["path"] for row in rows} - {store.MANIFEST})
    return found + [f"{there}/{name}: not in the manifest" for name in odd]


def _manifest(there: Objects) -> tuple[bytes, dict[str, Any]]:
    data = there.read(store.MANIFEST)
    return data, store.parse_manifest(data, f"{there}/{store.MANIFEST}", there.mend)


def _problem(there: Objects, sizes: Mapping[str, int], row: Row) -> str:
    name = row["path"]
    if name not in sizes:
        return f"{there}/{name}: missing"
    if sizes[name] != row["bytes"]:
        return f"{there}/{name}: {sizes[name]} bytes, the manifest says {row['bytes']}"
    return "" if there.hashed(name) == row["sha256"] else f"{there}/{name}: contents changed (sha256 differs)"
