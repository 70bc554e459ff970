"""The example that trains a detector."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from tests.finished import CLASSES, HEIGHT_PX, WIDTH_PX, boxes, finished, pixels


@pytest.fixture(scope="module")
def example(repository: Path) -> dict:
    return runpy.run_path(str(repository / "examples" / "train_detector.py"))


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


def test_what_is_to_be_ignored_is_blank(example: dict) -> None:
    number = next(number for number in range(6, 23) if any(one["ignore"] for one in boxes(number)))
    (ignored,) = [one for one in boxes(number) if one["ignore"]]
    left, top = int(ignored["x_px"]), int(ignored["y_px"])
    area = slice(top, top + int(ignored["h_px"])), slice(left, left + int(ignored["w_px"]))
    image = torch.from_numpy(pixels(number).transpose(2, 0, 1).copy())
    corners = [[left, top, left + ignored["w_px"], top + ignored["h_px"]]]
    made, _ = example["blanked"](image, {"ignored": torch.tensor(corners)})
    assert made.dtype == torch.float32 and made.max() <= 1
    assert not made[:, *area].any()
    assert torch.count_nonzero(made) == made.numel() - made[:, *area].numel()
