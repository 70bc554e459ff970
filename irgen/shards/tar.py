"""Tar files whose bytes depend on their members alone: ustar, mtime 0, no owner."""

import io
import tarfile
from pathlib import Path


class TarWriter:
    """Writes members in order."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._tar = tarfile.open(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, data: bytes) -> int:
        """Add a member and return where its data begin."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        offset = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(info, io.BytesIO(data))
        return offset

    def close(self) -> None:
        """Write the end; once closed, again does nothing."""
        self._tar.close()
        self._stream.close()
