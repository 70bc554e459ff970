import json
from pathlib import Path

import numpy as np
import pytest
import torch

from irgen.errors import SettingsError, WeightsError
from irgen.labels import detectors
from irgen.labels.calibration import outcomes
from irgen.labels.detectors import Detector
from irgen.settings import DetectorSettings
from tests.labels.making import scenes, true

SETTINGS = DetectorSettings(channels=32, steps=60, batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return detectors.train(*scenes(48), SETTINGS)


def test_a_detector_learns_where_things_are_and_what(detector: Detector) -> None:
    images, boxes = scenes(32, seed=1)
    found = detector.detect(images)
    assert detector.classes == ("car", "person")
    for label in detector.classes:
        assert outcomes(found, boxes, label).average_precision() > 0.6


def test_boxes_are_within_the_image_and_the_surest_come_first(detector: Detector) -> None:
    for own in detector.detect(scenes(6, seed=2)[0]):
        scores = [box.score for box in own]
        assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
        for box in own:
            assert box.x_px >= 0 and box.y_px >= 0 and box.w_px > 0 and box.h_px > 0
            assert box.x_px + box.w_px <= 48 and box.y_px + box.h_px <= 32
            assert (box.source, box.teacher_iou, box.ignore) == ("teacher", 0.0, False)


def test_what_is_found_does_not_depend_on_the_other_images(detector: Detector) -> None:
    images = scenes(19, seed=3)[0]
    together = detector.detect(images)
    assert [detector.detect(images[one : one + 1])[0] for one in (0, 17, 18)] == [together[one] for one in (0, 17, 18)]
    assert detector.detect(np.repeat(images[..., None], 3, -1)) == together


def test_a_saved_detector_finds_the_same(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    images = scenes(4, seed=4)[0]
    loaded = detectors.load(tmp_path)
    assert loaded.settings == detector.settings and loaded.detect(images) == detector.detect(images)


@pytest.mark.parametrize("architecture", ["fcos", "faster_rcnn", "rt_detr"])
def test_every_architecture_trains_equally_from_equal_seeds_and_leaves_torchs_alone(architecture: str) -> None:
    settings = SETTINGS.model_copy(update={"architecture": architecture, "steps": 2, "batch_size": 2})
    images, boxes = scenes(4)
    before = torch.random.get_rng_state()
    first, second = (detectors.train(images, boxes, settings) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.detect(images) == second.detect(images)
    other = detectors.train(images, boxes, settings.model_copy(update={"seed": 1}))
    assert other.detect(images) != first.detect(images)


def test_images_without_boxes_are_background() -> None:
    images, boxes = scenes(4)
    assert detectors.train(images, [boxes[0], [], [], []], SETTINGS.model_copy(update={"steps": 1})).classes


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (true(0, w=0), "image 2: person at x 0, y 4, w 0, h 16 covers nothing of 48x32"),
        (true(50), "image 2: person at x 50"),
        (true(0, label="dog"), "image 2: class 'dog' is not to be learnt"),
    ],
)
def test_a_box_of_no_use_is_named(box, message: str) -> None:
    images, boxes = scenes(4)
    with pytest.raises(SettingsError, match=message):
        detectors.train(images, [*boxes[:2], [box], boxes[3]], SETTINGS, classes=("person", "car"))


def test_nothing_to_learn_is_said() -> None:
    images, _ = scenes(2)
    with pytest.raises(SettingsError, match="needs boxes to learn"):
        detectors.train(images, [[], [true(0, ignore=True)]], SETTINGS)


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(SettingsError, match="backbone = 'resnet_of_mine'"):
        detectors.train(*scenes(2), SETTINGS.model_copy(update={"backbone": "resnet_of_mine"}))


def test_images_of_another_size_or_type_are_refused(detector: Detector) -> None:
    with pytest.raises(ValueError, match="trained on"):
        detector.detect(np.zeros((1, 16, 16), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        detector.detect(np.zeros((1, 32, 48)))


def test_a_damaged_detector_is_named(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    (tmp_path / detectors.WEIGHTS).write_bytes(b"torn")
    with pytest.raises(WeightsError, match="damaged"):
        detectors.load(tmp_path)
    document = json.loads((tmp_path / detectors.CONFIG).read_bytes())
    (tmp_path / detectors.CONFIG).write_text(json.dumps(document | {"classes": ["a", "b", "c"]}))
    with pytest.raises(WeightsError, match=str(tmp_path)):
        detectors.load(tmp_path)
