"""The file operations that a crash must not break; everything that store and shards put on disk goes through here.

A file becomes visible under its final name only when it is whole and on disk: temporary name, fsync, rename, fsync of
the folder. Nothing that bears a name under `_tmp/` is ever read as a result.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TMP = "_tmp"
CHUNK_BYTES = 1 << 20


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on an exception nothing does.

    The temporary file lies in `_tmp/` beside the final one, hence on the same file system.
    """
    scratch = path.parent / TMP
    temporary = scratch / f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    _claim(temporary)
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        with contextlib.suppress(OSError):
            scratch.rmdir()


def _claim(temporary: Path) -> None:
    """Make an empty file and its folder, which another writer may remove, being empty, at any moment before."""
    while not temporary.exists():
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its final name, replacing what had it."""
    fsync(temporary)
    temporary.replace(path)
    fsync(path.parent)


def publish_first(temporary: Path, path: Path) -> bool:
    """Give a finished temporary file its final name unless another was first; return whether this one won.

    `os.link` fails where the name exists, so of any number of writers exactly one wins.
    """
    fsync(temporary)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file under its final name, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with placed(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, document: Any) -> None:
    """Write a document as `json_bytes`."""
    write_bytes(path, json_bytes(document))


def json_bytes(document: Any) -> bytes:
    """Encode a document as indented JSON with sorted keys, so that equal documents are equal bytes."""
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def canonical_json(document: Any) -> bytes:
    """Encode a document for hashing: sorted keys, no spaces, NaN refused."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sealed(document: Mapping[str, Any]) -> bytes:
    """Encode a document with a digest of itself, so that any changed byte of it shows."""
    digest = hashlib.sha256(canonical_json(document)).hexdigest()
    return json_bytes({**document, "digest": digest})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `sealed` encoded, without the digest.

    Raises:
        OSError: it cannot be read.
        ValueError: it was changed after it was written.
    """
    data = path.read_bytes()
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    document.pop("digest", None)
    # Bytes, not documents, are compared: white space, order and a number's spelling are changes, too.
    if sealed(document) != data:
        raise ValueError("was changed after it was written")
    return document


def sha256_file(path: Path) -> str:
    """Hash a file's bytes in bounded memory."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def remove_tree(path: Path) -> None:
    """Remove a folder that may not be there."""
    shutil.rmtree(path, ignore_errors=True)
