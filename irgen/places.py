"""Where a finished output lies, and reading it there: a folder, or objects under a prefix of a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Protocol

from irgen import files
from irgen.objects import SCHEME, Objects

REMAKE = "Run its stage again: it makes anew what is damaged."


class Place(Protocol):
    """An output's files by their names in it; `str` of it says where it lies.

    Attributes:
        mend: what to do about a damaged file there.
    """

    mend: str

    @property
    def folder(self) -> Path:
        """The folder, for what only works in one; a StoreError where there is none."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file, by name; scratch is left out."""

    def read(self, name: str) -> bytes:
        """Read a whole file."""

    def read_range(self, name: str, offset: int, count: int) -> bytes:
        """Read `count` bytes of a file from `offset` on, fewer where it ends before."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read from its beginning to its end."""


class Folder:
    """A folder of this machine."""

    mend = REMAKE

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file, by name."""
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_size
            for path in files.below(self.folder)
            if path.is_file()
        }

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        return files.read_bytes(self.folder / name)

    def read_range(self, name: str, offset: int, count: int) -> bytes:
        """Read a part of a file."""
        with self.open(name) as stream:
            stream.seek(offset)
            return stream.read(count)

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read."""
        return (self.folder / name).open("rb")


def is_url(path: Path | str) -> bool:
    """Say whether a path is an address of object storage."""
    return isinstance(path, str) and path.startswith(SCHEME)


def at(path: Path | str) -> Place:
    """Return the place that a path or an address names.

    Raises:
        SettingsError: an address without bucket or prefix, or no package to reach it.
    """
    return Objects(str(path)) if is_url(path) else Folder(Path(path))
