"""Small raw data of every source, built by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irgen.records import Frame, Reject
from irgen.settings import FramesSettings
from irgen.sources import read

HEADER = "% bbGt version=3\n"
PERSON = "person 10 20 5 8 0 0 0 0 0 0 0\n"


class Raw:
    """A folder to be filled with images and annotations."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, path: str, width: int = 64, height: int = 48, level: int = 90) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.add.outer(np.arange(height), np.arange(width)) % 100 + level
        Image.fromarray(ramp.astype(np.uint8)).save(file, "PNG" if path.lower().endswith("png") else "JPEG")
        return file

    def pair(self, frame_id: str, above: str = "", **size: int) -> None:
        video, name = frame_id.rsplit("/", 1)
        for modality in ("visible", "lwir"):
            self.image(f"{above}{video}/{modality}/{name}.jpg", **size)

    def text(self, path: str, text: str | bytes = HEADER + PERSON) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def frame(self, frame_id: str, text: str | bytes = HEADER + PERSON) -> None:
        self.pair(frame_id)
        self.text(f"annotations/{frame_id}.txt", text)


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    (tmp_path / "raw").mkdir()
    return Raw(tmp_path / "raw")


@pytest.fixture
def collect():
    def collect(source: str, root: Path, **options) -> tuple[list[Frame], list[Reject]]:
        settings = FramesSettings(source=source, root=str(root), **options)
        items = list(read(settings, root))
        return [one for one in items if isinstance(one, Frame)], [one for one in items if isinstance(one, Reject)]

    return collect
