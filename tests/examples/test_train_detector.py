"""The example that trains a detector."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from tests.finished import CLASSES, HEIGHT_PX, WIDTH_PX, finished


def test_an_epoch_leaves_a_detector_of_the_datasets_classes(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.finished.IMAGES", 8)  # an image costs a second
    weights = tmp_path / "detector.safetensors"
    command = [sys.executable, repository / "examples" / "train_detector.py", finished(tmp_path / "tiny"), weights, "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (told,) = done.stdout.splitlines()
    assert told.startswith("epoch 0: loss ") and "nan" not in told
    with safe_open(weights, "pt") as file:
        assert file.metadata() == {"classes": ",".join(CLASSES)}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights_backbone=None, num_classes=len(CLASSES) + 1).eval()
    detector.load_state_dict(state)
    (found,) = detector([torch.rand(3, HEIGHT_PX, WIDTH_PX)])
    assert found["boxes"].shape[1] == 4 and set(found["labels"].tolist()) <= {1, 2}
