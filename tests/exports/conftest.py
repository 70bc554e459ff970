from pathlib import Path

import pytest

from tests.finished import finished


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A finished dataset with boxes that no test changes."""
    return finished(tmp_path_factory.mktemp("finished") / "tiny")


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory) -> Path:
    """The same without stage labels."""
    return finished(tmp_path_factory.mktemp("unlabelled") / "tiny", labelled=False)
