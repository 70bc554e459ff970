"""The file operations that a crash must not break; everything that store and shards put on disk goes through here.

A file becomes visible under its final name only when it is whole and on disk: temporary name, fsync, rename, fsync of
the folder. Nothing that bears a name under `_tmp/` is ever read as a result.

Every operation can be `watched`: a test sees the order of fsync and rename, and makes any of them crash or fail.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

TMP = "_tmp"
CHUNK_BYTES = 1 << 20
TRIES = 100
"""Of making a folder that other writers remove, being empty."""

Kind = Literal["mkdir", "create", "write", "fsync", "rename", "link", "unlink", "rmdir", "lock", "read"]
Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Operation:
    """One operation on a file or folder; `target` is the name that a rename or link gives."""

    kind: Kind
    path: Path
    target: Path | None = None


Watcher = Callable[[Moment, Operation], None]
_watchers: list[Watcher] = []


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` before and after every operation; what it raises is what the operation raises."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextlib.contextmanager
def _operation(kind: Kind, path: Path, target: Path | None = None) -> Iterator[None]:
    for watcher in _watchers:
        watcher("before", Operation(kind, path, target))
    yield
    for watcher in _watchers:
        watcher("after", Operation(kind, path, target))


class _Raw(io.FileIO):
    """A new file whose every write is an operation."""

    def write(self, data: Any) -> int:
        """Write what the disk takes."""
        with _operation("write", Path(os.fsdecode(self.name))):
            return super().write(data)


def create(path: Path) -> IO[bytes]:
    """Open a file to write, replacing what was there; for scratch, never under a final name."""
    with _operation("create", path):
        raw = _Raw(path, "wb")
    return io.BufferedWriter(raw)


def write_scratch(path: Path, data: bytes) -> None:
    """Write a file of one's own, that nobody reads before it is published."""
    with create(path) as stream:
        stream.write(data)


def open_lock(path: Path) -> IO[str]:
    """Open a file to lock, making it where it is not there; its contents are nothing."""
    with _operation("lock", path):
        return path.open("w")


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    with _operation("fsync", path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_scratch(path: Path) -> None:
    """Make a folder for scratch, which need not outlive a loss of power."""
    with _operation("mkdir", path):
        for left in reversed(range(TRIES)):
            try:
                path.mkdir(parents=True)
            except (FileExistsError, FileNotFoundError):
                # Another writer may remove it or the one above, being empty, at any moment; `exist_ok` would take
                # that for a file.
                if path.is_dir():
                    return
                if path.exists() or not left:
                    raise
            else:
                return


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each on disk before the next is made in it."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        with _operation("mkdir", each):
            each.mkdir(exist_ok=True)
        fsync(each.parent)


def remove(path: Path) -> None:
    """Remove a file that may not be there."""
    with _operation("unlink", path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there and empty."""
    with contextlib.suppress(OSError), _operation("rmdir", path):
        path.rmdir()


@contextlib.contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes `path`, on an exception nothing does.

    The temporary file lies in `_tmp/` beside the final one, hence on the same file system.
    """
    scratch = path.parent / TMP
    temporary = scratch / f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    try:
        _claim(temporary)
        yield temporary
        publish(temporary, path)
    except BaseException:
        # What went wrong is the error to tell, not that its traces could not be removed: `gc` does that.
        with contextlib.suppress(OSError):
            remove(temporary)
        raise
    finally:
        remove_folder(scratch)


def _claim(temporary: Path) -> None:
    """Make an empty file and its folder, which another writer may remove, being empty, at any moment before."""
    make_folder(temporary.parent.parent)
    while not temporary.exists():
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            make_scratch(temporary.parent)
            create(temporary).close()


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its final name, replacing what had it."""
    fsync(temporary)
    with _operation("rename", temporary, path):
        temporary.replace(path)
    fsync(path.parent)


def publish_first(temporary: Path, path: Path) -> bool:
    """Give a finished temporary file its final name unless another was first; return whether this one won.

    `os.link` fails where the name exists, so of any number of writers exactly one wins.
    """
    fsync(temporary)
    try:
        with _operation("link", temporary, path):
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            remove(temporary)
    fsync(path.parent)
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file under its final name, or nothing."""
    with placed(path) as temporary:
        write_scratch(temporary, data)


def read_bytes(path: Path) -> bytes:
    """Read a whole file."""
    with _operation("read", path):
        return path.read_bytes()


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
    return unsealed(read_bytes(path))


def unsealed(data: bytes) -> dict[str, Any]:
    """Decode what `sealed` encoded, without the digest.

    Raises:
        ValueError: it was changed after it was written.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    document.pop("digest", None)
    # Bytes, not documents, are compared: white space, order and a number's spelling are changes, too.
    if sealed(document) != data:
        raise ValueError("was changed after it was written")
    return document


def cache_folder() -> Path:
    """Return where what can be had again is kept on this machine (`XDG_CACHE_HOME`, or `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irgen"


def below(folder: Path) -> list[Path]:
    """List what lies below a folder without being one, sorted, scratch left out; a link is listed and not followed.

    Other writers may be at work there: what vanishes meanwhile is not listed.
    """
    found: list[Path] = []
    for here, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if name != TMP]
        links = [name for name in subfolders if Path(here, name).is_symlink()]
        found += [Path(here, name) for name in (*names, *links)]
    return sorted(found)


def inside(folder: Path, name: str) -> Path:
    """Return the file that a record names in a folder; records come from outside, too.

    Raises:
        ValueError: the name leads out of the folder.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"names {name!r}, which leads out of {folder}")
    return folder / path


def is_regular(path: Path) -> bool:
    """Say whether a path is a file with an end: reading a pipe or a device may never come to one."""
    return stat.S_ISREG(path.stat().st_mode)


def sha256_file(path: Path) -> str:
    """Hash a file's bytes in bounded memory.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    if not is_regular(path):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    digest = hashlib.sha256()
    with _operation("read", path), path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def settle(folder: Path) -> None:
    """Put every file below a folder and every name in it on disk, whoever wrote them."""
    for here, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if name != TMP)
        for name in sorted(names):
            fsync(Path(here, name))
        fsync(Path(here))


def remove_tree(path: Path) -> None:
    """Remove a folder that may not be there; what cannot be removed stays. Links are removed, not followed."""
    for here, subfolders, names in os.walk(path, topdown=False):
        for name in sorted([*names, *subfolders]):
            each = Path(here, name)
            if each.is_dir() and not each.is_symlink():
                remove_folder(each)
            else:
                with contextlib.suppress(OSError):
                    remove(each)
    remove_folder(path)
