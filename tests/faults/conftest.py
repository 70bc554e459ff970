import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that is not there yet; in memory where that is to be had, because thousands of fsyncs wear a disk."""
    above = Path(tempfile.mkdtemp(prefix="irgen-faults-", dir=MEMORY if MEMORY.is_dir() else None))
    yield above / "scratch"
    shutil.rmtree(above)
