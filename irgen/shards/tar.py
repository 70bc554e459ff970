"""Tar files whose bytes depend on their members alone: ustar, mtime 0, no owner."""

import contextlib
import io
import tarfile
from pathlib import Path

from irgen import files


class TarWriter:
    """Writes members in order."""

    def __init__(self, path: Path) -> None:
        self._stream = files.create(path)
        self._tar = tarfile.TarFile(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, data: bytes) -> int:
        """Add a member and return where its data begin."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(info, io.BytesIO(data))
        return offset

    def close(self) -> None:
        """Write the end of the tar."""
        self._tar.close()
        self._stream.close()

    def discard(self) -> None:
        """Let go of the file, finished or not; a disk that is still full is no news."""
        with contextlib.suppress(OSError):
            self._stream.close()
