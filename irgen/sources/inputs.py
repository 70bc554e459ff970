"""What a source reads, so that a change of it is noticed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from irgen import digests
from irgen.sources.annotation_files import SUFFIXES
from irgen.sources.listing import files_below


@dataclass(frozen=True)
class Inputs:
    """Raw files of a source.

    Attributes:
        folder: that holds the images.
        images: the image files, looked up when they are asked for; None where the source is not to read any.
        annotations: file, folder or archive, None where the source has none.
    """

    folder: Path
    images: Iterable[Path] | None
    annotations: Path | None = None

    def digests(self) -> dict[str, str]:
        """Digest the contents: `raw` for the images, `annotations`."""
        found = {"raw": digests.digest(self.folder, self.images)} if self.images is not None else {}
        path = self.annotations
        if path is not None:
            inside = [path / name for name in files_below(path, (*SUFFIXES, ".json"))] if path.is_dir() else [path]
            found["annotations"] = digests.digest(path, inside)
        return found
