"""The example flows do what they say."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from irgen.errors import SettingsError
from tests import finished


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished.finished(tmp_path_factory.mktemp("finished") / "tiny")


def test_a_detector_is_trained_on_a_finished_dataset(dataset: Path, tmp_path: Path) -> None:
    from flows.examples.train_detector import train_detector

    figures = train_detector.fn(str(dataset), str(tmp_path / "out"), steps=2, batch_size=8)
    assert figures["classes"] == finished.CLASSES
    assert 0 < figures["loss_last"] < 100 and 0 < figures["loss_first"] < 100
    assert json.loads((tmp_path / "out" / "detector.json").read_text()) == {"dataset": str(dataset), **figures}
    with safe_open(tmp_path / "out" / "detector.safetensors", "pt") as weights:
        assert len(list(weights.keys())) > 100


def test_a_batch_of_more_images_than_there_are_is_refused(dataset: Path, tmp_path: Path) -> None:
    from flows.examples.train_detector import train_detector

    with pytest.raises(SettingsError, match="batch_size = 99"):
        train_detector.fn(str(dataset), str(tmp_path / "out"), steps=1, batch_size=99)
    assert not (tmp_path / "out").exists()
