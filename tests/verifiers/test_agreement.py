from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from irgen.errors import WeightsError
from irgen.records import Box, LabelledBox
from irgen.settings import AgreementChoice
from irgen.verifiers.agreement import Agreement, TeachersAgreement
from irgen.verifiers.detector import Detection, TransformersDetector
from tests.tiny_judges import tiny_yolos

WIDTH_PX, HEIGHT_PX = 640, 512
TWO_LEFT = [Detection(Box("person", left, 100, 20, 200.0), 0.9) for left in (50.0, 70.0)]
CAPTION = "a road at night with two people near on the left"


@dataclass
class FakeDetector:
    answers: Sequence[list[Detection]]
    classes = ("person", "cyclist", "car")

    def detect(self, images: np.ndarray) -> list[list[Detection]]:
        return list(self.answers[: len(images)])


def test_the_score_is_the_mean_of_its_parts() -> None:
    verifier = Agreement(FakeDetector([TWO_LEFT, []]))
    images = np.zeros((2, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    scores = verifier.score(images, [CAPTION, CAPTION])
    np.testing.assert_array_equal(scores.value, [1, 0])
    assert set(scores.parts) == {"agreement_count", "agreement_place"}


class FakeTeachers:
    """See two persons on the left in every image, one of them doubtfully, and a car."""

    classes = ("person", "cyclist", "car")

    def label(self, images: np.ndarray) -> list[list[LabelledBox]]:
        one = LabelledBox("person", 50.0, 100, 20, 200.0, 0.9, "teacher", 0.8, ignore=False)
        car = LabelledBox("car", 300.0, 100, 90, 60.0, 0.8, "teacher", 0.8, ignore=False)
        return [[one, replace(one, x_px=70.0, score=0.5, ignore=True), car]] * len(images)


def test_of_the_teachers_only_what_both_find_surely_counts() -> None:
    images = np.zeros((2, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    scores = TeachersAgreement(FakeTeachers(), 0).score(images, [CAPTION, CAPTION])
    np.testing.assert_array_equal(scores.value, [0.5, 0.5])


def test_what_will_be_ignored_may_be_taken_off() -> None:
    told = CAPTION.replace(" near", " and a car near")
    images = np.zeros((2, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    agreed, less = (TeachersAgreement(FakeTeachers(), doubt).score(images, [CAPTION, told]) for doubt in (0, 0.2))
    np.testing.assert_allclose(less.parts["agreement_doubt"], [0.5 + 0.8, 0.5])  # the car that is not told, too
    np.testing.assert_allclose(less.value, agreed.value - 0.2 * np.array([1.3, 0.5]))


def test_only_teachers_doubt() -> None:
    with pytest.raises(ValueError, match="doubt = 1 is known of teachers alone"):
        AgreementChoice(detector="somebody/yolos", doubt=1)


@pytest.fixture(scope="module")
def yolos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_yolos(tmp_path_factory.mktemp("yolos"))


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)


def test_a_detector_in_the_transformers_format_finds_boxes_in_the_images_pixels(yolos: Path) -> None:
    answers = TransformersDetector.load(str(yolos), 0.05).detect(noise(5))
    assert len(answers) == 5 and any(answers)
    for one in [detection for answer in answers for detection in answer]:
        assert one.box.label in ("person", "cyclist", "car")
        assert 0.05 < one.confidence <= 1
        assert one.box.w_px > 0 and one.box.h_px > 0
        assert 0 <= one.box.x_px + one.box.w_px / 2 <= 64 and 0 <= one.box.y_px + one.box.h_px / 2 <= 48


def test_what_is_found_does_not_depend_on_the_other_images(yolos: Path) -> None:
    detector = TransformersDetector.load(str(yolos), 0.05)
    images = noise(6)
    together = detector.detect(images)
    assert [detector.detect(images[k : k + 1])[0] for k in range(6)] == together


def test_a_higher_confidence_finds_fewer(yolos: Path) -> None:
    few, many = (TransformersDetector.load(str(yolos), least).detect(noise(4)) for least in (0.9, 0.05))
    assert sum(map(len, few)) < sum(map(len, many))


def test_settings_name_the_detector(yolos: Path) -> None:
    verifier = Agreement.load(AgreementChoice(detector=str(yolos), confidence=0.1))
    value = verifier.score(noise(3), [CAPTION] * 3).value
    assert ((value >= 0) & (value <= 1)).all()


def test_a_detector_that_knows_no_class_of_captions_is_refused_with_what_it_knows(tmp_path: Path) -> None:
    tiny_yolos(tmp_path, {0: "dog", 1: "LABEL_1"})
    with pytest.raises(WeightsError, match="knows none of person, cyclist, car; its classes are LABEL_1, dog"):
        TransformersDetector.load(str(tmp_path), 0.5)
