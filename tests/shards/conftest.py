import shutil
from pathlib import Path

import pytest

from tests.shards.outputs import fill


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    """A finished output that no test changes."""
    folder = tmp_path_factory.mktemp("pristine") / "out"
    fill(folder)
    return folder


@pytest.fixture
def output(pristine, tmp_path) -> Path:
    """A finished output of one's own."""
    return Path(shutil.copytree(pristine, tmp_path / "out"))
