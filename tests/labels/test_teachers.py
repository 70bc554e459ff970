from pathlib import Path

import numpy as np
import pytest

from irgen.errors import WeightsError
from irgen.labels import detectors, teachers
from irgen.labels.teachers import Teachers, calibrate
from irgen.records import Box, LabelledBox
from irgen.settings import DetectorSettings
from tests.labels.making import found, scenes, true


class Told:
    """A detector that finds what it is told, by the brightness of the image."""

    classes = ("person",)
    size_px = (32, 48)

    def __init__(self, architecture: str, boxes: dict[int, list[LabelledBox]]) -> None:
        self.settings = DetectorSettings(architecture=architecture)
        self._boxes = boxes

    def detect(self, images: np.ndarray) -> list[list[LabelledBox]]:
        return [self._boxes[int(image[0, 0])] for image in images]


def told(first, second, truth: list[list[Box]], precision: float = 0.9):
    """Calibrate two that find so in images 0, 1, ..."""
    images = np.stack([np.full((32, 48), number, np.uint8) for number in range(len(truth))])
    pair = (Told("fcos", dict(enumerate(first))), Told("faster_rcnn", dict(enumerate(second))))
    return (*calibrate(pair, images, truth, precision, 0.2), images)


def test_what_both_find_surely_is_a_box_and_what_one_finds_is_to_be_ignored() -> None:
    count = 20
    first = [[found(4, score=0.9), found(30, score=0.6)] for _ in range(count)]
    second = [[found(4, score=0.9)] for _ in range(count)]
    truth = [[true(4), *([true(30)] if number % 2 else [])] for number in range(count)]
    judge, measured, images = told(first, second, truth)
    for own in judge.label(images):
        assert [(box.x_px, box.ignore) for box in own] == [(4, False), (30, True)]
        assert own[0].score == pytest.approx(21 / 22, abs=1e-3) and own[0].teacher_iou == 1
        assert own[1].score == pytest.approx(0.5, abs=1e-3)
    assert measured["labels"]["all"] == {
        "precision": 1,
        "recall": pytest.approx(20 / 30),
        "ignored": pytest.approx(10 / 30),
        "boxes": 20,
        "objects": 30,
    }


def test_a_score_at_which_too_many_are_wrong_makes_no_box() -> None:
    scores = [0.9 if number < 12 else 0.3 for number in range(24)]
    both = [[found(4, score=score)] for score in scores]
    truth = [[true(4)] if score == 0.9 or number % 3 == 0 else [] for number, score in enumerate(scores)]
    judge, _, images = told(both, both, truth)
    assert 0.3 < judge.thresholds["person"] <= 0.9
    assert [own[0].ignore for own in judge.label(images)] == [False] * 12 + [True] * 12


def test_what_is_hardly_ever_right_is_nothing() -> None:
    first = [[found(4, score=0.5)] for _ in range(20)]
    judge, _, images = told(first, [[] for _ in range(20)], [[] for _ in range(20)])
    assert judge.label(images) == [[]] * 20


def test_a_box_within_a_surer_one_of_its_class_is_to_be_ignored() -> None:
    both = [[found(4, 0, 16, 30, score=0.9), found(6, 2, 8, 20, score=0.8)] for _ in range(20)]
    truth = [[true(4, 0, 16, 30), true(6, 2, 8, 20)] for _ in both]
    judge, _, images = told(both, both, truth)
    assert judge.thresholds["person"] <= 0.8
    assert [(round(box.w_px), box.ignore) for box in judge.label(images[:1])[0]] == [(16, False), (8, True)]


def test_boxes_of_an_image_of_another_size_are_in_its_pixels() -> None:
    both = [[found(4, score=0.9)] for _ in range(20)]
    judge, _, images = told(both, both, [[true(4)]] * 20)
    large = images.repeat(2, axis=1).repeat(3, axis=2)
    box = judge.label(large[:1])[0][0]
    assert (box.x_px, box.y_px, box.w_px, box.h_px) == pytest.approx((12, 8, 24, 32))


def test_saved_teachers_label_the_same(tmp_path: Path) -> None:
    images, boxes = scenes(16)
    pair = tuple(
        detectors.train(images, boxes, DetectorSettings(architecture=one, channels=32, steps=3, batch_size=4))
        for one in ("fcos", "faster_rcnn")
    )
    judge, measured = calibrate(pair, images, boxes, 0.5, 0.0)
    judge.save(tmp_path, measured)
    assert Teachers.load(tmp_path).label(images) == judge.label(images)
    (tmp_path / teachers.CALIBRATION).write_text("{}")
    with pytest.raises(WeightsError, match="Run stage teachers again"):
        Teachers.load(tmp_path)
