"""Raw data to name on a command line."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A plain folder of two LWIR images, one of them truncated."""
    folder = tmp_path / "photos" / "lwir"
    folder.mkdir(parents=True)
    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    image.save(folder / "a.jpg")
    image.save(folder / "b.jpg")
    data = (folder / "b.jpg").read_bytes()
    (folder / "b.jpg").write_bytes(data[: len(data) // 2])
    return folder.parent
