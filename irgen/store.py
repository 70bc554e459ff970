"""Stage outputs: named by fingerprint, done when their manifest says so.

A stage writes into `<root>/<NN-stage>/<fingerprint>/`, each file whole (`files.placed`), and `manifest.json` last.
A folder without a manifest is an interrupted run that the next one carries on; only `_tmp/` in it may hold scratch.
The manifest lists every file with its sha256 and carries its own digest; nothing in it depends on the clock, the
machine or the place of the folder, so that equal work gives equal bytes. What does (seconds, versions, host) is in
`cost.json` beside it, which is not part of the output.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from irgen import files
from irgen.errors import StoreError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
COST = "cost.json"
RUN = "run.json"
"""Of a sharded output (`irgen.shards`), which begins with it."""
FINGERPRINT_DIGITS = 16


class Ref(BaseModel):
    """What travels between stages: where an output lies and what is in it.

    Attributes:
        stage: name of the stage that made it.
        path: its folder.
        content: digest over its files; an input's content is part of the fingerprint of every later stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    path: str
    content: str

    @property
    def folder(self) -> Path:
        """The output's folder."""
        return Path(self.path)


def fingerprint(stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Name an output by everything that decides it.

    Args:
        stage: the stage's name.
        version: of its code; raised when its meaning changes.
        settings: resolved settings, JSON-able.
        inputs: content digests of earlier stages' outputs and of what comes from outside (raw data, weights).
    """
    identity = {"stage": stage, "version": version, "settings": settings, "inputs": inputs}
    return hashlib.sha256(files.canonical_json(identity)).hexdigest()[:FINGERPRINT_DIGITS]


def listing(folder: Path) -> list[dict[str, Any]]:
    """List an output's files, sorted by path: path, sha256, bytes. `_tmp/` and the files about the run are left out."""
    rows = []
    for path in files.below(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (MANIFEST, COST):
            rows.append({"path": name, "sha256": files.sha256_file(path), "bytes": path.stat().st_size})
    return rows


def content_of(rows: list[dict[str, Any]]) -> str:
    """Digest a listing."""
    return hashlib.sha256(files.canonical_json(rows)).hexdigest()


def write_manifest(folder: Path, document: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write `manifest.json`: the document, the files, the content digest and the manifest's own digest.

    It vouches for files that stages wrote by any means, so all of them are on disk before it is.
    """
    files.settle(folder)
    body = {**document, "files": rows, "content": content_of(rows)}
    files.write_bytes(folder / MANIFEST, files.sealed(body))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check a manifest's own digests (not the files it lists: see `problems`).

    Raises:
        StoreError: no manifest, not JSON, or altered.
        OSError: it cannot be read, which does not say that it is damaged.
    """
    path = folder / MANIFEST
    try:
        data = files.read_bytes(path)
    except FileNotFoundError as error:
        raise StoreError(f"{folder}: not a finished output (no {MANIFEST})", "Run its stage again.") from error
    return parse_manifest(data, str(path), "Run its stage again.")


def parse_manifest(data: bytes, where: str, fix: str) -> dict[str, Any]:
    """Decode and check a manifest, wherever it lies.

    Args:
        data: its bytes.
        where: it lies, for errors.
        fix: what to do about a damaged one.

    Raises:
        StoreError: not JSON, or altered.
    """
    try:
        manifest = files.unsealed(data)
        sound = content_of(manifest["files"]) == manifest["content"]
        for row in manifest["files"]:
            files.inside(Path(where).parent, row["path"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{where}: damaged ({error})", fix) from error
    if not sound:
        raise StoreError(f"{where}: its content digest is not that of its files", fix)
    return manifest


def problems(folder: Path, *, sha256: Callable[[Path], str] = files.sha256_file) -> list[str]:
    """Compare an output with its manifest; return one line for each thing wrong, none when it is sound.

    Args:
        folder: the output.
        sha256: digests a file; a caller that needs the digests, too, may remember them.

    Raises:
        OSError: a file cannot be read: what is not known to be wrong is not called so, else it would be made again.
    """
    return examine(folder, sha256=sha256)[1]


def examine(
    folder: Path, *, sha256: Callable[[Path], str] = files.sha256_file, trust_mtime: bool = False
) -> tuple[Ref | None, list[str]]:
    """Do as `problems`, and refer to the output if it is sound.

    Args:
        folder: the output.
        sha256: digests a file.
        trust_mtime: do not read a file of the right size that was last written before the manifest was. So a plan of
            a million images takes seconds; what a disk lost in silence a run finds.

    Raises:
        OSError: as `problems`.
    """
    try:
        manifest = read_manifest(folder)
    except StoreError as error:
        return None, [error.what]
    vouched_ns = (folder / MANIFEST).stat().st_mtime_ns
    found = []
    known = {str(folder / MANIFEST), str(folder / COST)}
    for row in manifest["files"]:
        path = folder / row["path"]
        known.add(str(path))
        if not path.is_file():
            found.append(f"{path}: missing")
        elif (seen := path.stat()).st_size != row["bytes"]:
            found.append(f"{path}: {seen.st_size} bytes, the manifest says {row['bytes']}")
        elif trust_mtime and seen.st_mtime_ns < vouched_ns:  # not <=: a clock ticks too seldom to tell
            continue
        elif sha256(path) != row["sha256"]:
            found.append(f"{path}: contents changed (sha256 differs)")
    found += [f"{path}: not in the manifest" for path in files.below(folder) if str(path) not in known]
    return None if found else _ref(folder, manifest), found


def salvage(folder: Path, fingerprint: str) -> bool:
    """Turn a damaged output into an interrupted one: what its manifest does not vouch for goes, the manifest last.

    Where the manifest itself is damaged, the commit records of a sharded output vouch for its shards, and `finish`
    reads all of them; what else is there is written again.

    Args:
        folder: the output.
        fingerprint: of the work that is wanted there.

    Returns:
        False where nothing was done, because nothing vouches for what is there, or it is of other work.
    """
    try:
        manifest = read_manifest(folder)
    except StoreError:
        sharded = folder.name == fingerprint and (folder / RUN).exists()
        if sharded:
            files.remove(folder / MANIFEST)
        return sharded
    if manifest["fingerprint"] != fingerprint:
        return False
    sound = {MANIFEST}
    for row in manifest["files"]:
        path = folder / row["path"]
        if path.is_file() and files.sha256_file(path) == row["sha256"]:
            sound.add(row["path"])
    for path in folder.rglob("*"):
        if not path.is_dir() and path.relative_to(folder).as_posix() not in sound:
            files.remove(path)
    files.remove(folder / MANIFEST)
    return True


def ref(folder: Path) -> Ref:
    """Refer to a finished output.

    Raises:
        StoreError: not finished, or its manifest is damaged.
    """
    return _ref(folder, read_manifest(folder))


def _ref(folder: Path, manifest: Mapping[str, Any]) -> Ref:
    return Ref(stage=manifest["stage"], path=str(folder), content=manifest["content"])


def latest(stage_folder: Path, *, trust_mtime: bool = False) -> Ref | None:
    """Return the newest sound output of a stage, or None; `trust_mtime` as in `examine`."""
    manifests = sorted(stage_folder.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in manifests:
        if found := examine(path.parent, trust_mtime=trust_mtime)[0]:
            return found
    return None


def write_cost(folder: Path, cost: Mapping[str, Any]) -> None:
    """Write `cost.json`: what the run that made an output took, and where."""
    files.write_bytes(folder / COST, files.sealed(cost))


def read_cost(folder: Path) -> dict[str, Any]:
    """Read `cost.json`; empty where there is none or it is damaged: no output depends on it."""
    try:
        cost = json.loads((folder / COST).read_bytes())
        return {**cost, "seconds": float(cost["seconds"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def seconds(folder: Path) -> float:
    """Return how long the run that made an output took; 0 where that is not known."""
    return float(read_cost(folder).get("seconds", 0.0))


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[Path]:
    """Hold an output's lock while working on it, so that two runs of the same work do it once.

    The lock saves work; what keeps results right is that files and manifest are placed whole.
    """
    scratch = folder / files.TMP
    files.make_folder(folder)
    files.make_scratch(scratch)
    with files.open_lock(lock_path(folder)) as lock:
        if not _locked(lock):
            log.info("%s: waiting for the run that is at work there", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        files.make_folder(folder)
        files.make_scratch(scratch)
        yield folder


@contextlib.contextmanager
def idle(folder: Path) -> Iterator[None]:
    """Keep runs out of an output for a while.

    Raises:
        StoreError: one is at work there.
    """
    if not lock_path(folder).exists():
        yield
        return
    with files.open_lock(lock_path(folder)) as lock:
        if not _locked(lock):
            raise StoreError(f"{folder}: a run is at work there", "Wait until it ends, or stop it.")
        yield


def _locked(lock: IO[str]) -> bool:
    """Lock a file if nobody else has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_path(folder: Path) -> Path:
    """Return the file that is locked while somebody works on an output."""
    return folder.parent / f".{folder.name}.lock"
