from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.captions import rules
from irgen.errors import WeightsError
from irgen.records import Box, Frame
from irgen.settings import AgreementChoice
from irgen.verifiers.agreement import Agreement, agreement, read
from irgen.verifiers.detector import Detection, TransformersDetector
from tests.tiny_judges import tiny_yolos

WIDTH_PX, HEIGHT_PX = 640, 512
NEAR, FAR = 200.0, 30.0
LEFT, CENTRE, RIGHT = 60.0, 320.0, 600.0


def box(label: str, x_centre: float, height: float) -> Box:
    return Box(label, x_centre - 10, 100, 20, height)


def found(*boxes: Box) -> list[Detection]:
    return [Detection(one, 0.9) for one in boxes]


def judged(caption: str, *boxes: Box) -> tuple[float, float]:
    return agreement(caption, found(*boxes), WIDTH_PX, HEIGHT_PX)


@dataclass
class FakeDetector:
    answers: Sequence[list[Detection]]

    def detect(self, images: np.ndarray) -> list[list[Detection]]:
        return list(self.answers[: len(images)])


TWO_LEFT = (box("person", LEFT, NEAR), box("person", LEFT + 20, NEAR))
CAPTION = "a road at night with two people near on the left"


@pytest.mark.parametrize(
    ("caption", "boxes", "expected"),
    [
        (CAPTION, TWO_LEFT, (1, 1)),
        (CAPTION, TWO_LEFT[:1], (1 / 2, 1 / 2)),
        (CAPTION, (), (0, 0)),
        (CAPTION, (*TWO_LEFT, box("person", RIGHT, FAR), box("cyclist", RIGHT, FAR)), (2 / 4, 1)),
        (CAPTION, (box("person", RIGHT, NEAR), box("person", LEFT, FAR)), (1, 0)),
        (CAPTION, (*TWO_LEFT, box("car", RIGHT, NEAR)), (1, 1)),
        ("a road with one car far in the centre", (box("car", CENTRE, FAR), box("person", LEFT, NEAR)), (1, 1)),
        ("a road with two cars, one person near on the left and a cyclist", (box("car", CENTRE, FAR),), (1 / 4, 0)),
        ("nobody on a campus", (), (1, 1)),
        ("a campus without people", (box("person", LEFT, NEAR),), (0, 0)),
        ("a group of people near on the left on a road", TWO_LEFT, (1, 1)),
        ("a group of people near on the left on a road", TWO_LEFT * 3, (1, 1)),
        ("a group of people near on the left on a road", TWO_LEFT[:1], (1 / 2, 1 / 2)),
        ("many people on a road", TWO_LEFT * 9, (1, 1)),
        ("a downtown street by day", TWO_LEFT, (1, 1)),
        ("a bus parked on a road", TWO_LEFT, (1, 1)),
    ],
)
def test_count_and_place_are_held_against_the_caption(caption, boxes, expected) -> None:
    assert judged(caption, *boxes) == pytest.approx(expected)


@given(
    st.lists(
        st.builds(
            box,
            st.sampled_from(["person", "cyclist", "car", "people"]),
            st.sampled_from([LEFT, CENTRE, RIGHT]),
            st.sampled_from([FAR, 80.0, NEAR]),
        ),
        max_size=6,
    ),
    st.integers(0, 50),
)
@settings(max_examples=150, deadline=None)
def test_a_frames_own_boxes_always_agree_with_the_caption_that_the_rules_write(boxes: list[Box], seed: int) -> None:
    frame = Frame("a", "kaist", "train", "", "", "night", "road", "", "", "", "", WIDTH_PX, HEIGHT_PX, tuple(boxes))
    caption = rules.caption(frame, seed, lambda text: len(text.split())).caption
    assert judged(caption, *boxes) == (1, 1)
    told, nobody = read(caption)
    expected = sorted((g.label, g.count, g.distance, g.side) for g in rules.group(frame))
    assert sorted((g.label, g.count, g.distance, g.side) for g in told) == expected
    assert nobody == (not any(one.label != "car" for one in boxes))


@given(st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=36, deadline=None)
def test_the_count_is_min_over_max(told: int, seen: int) -> None:
    words = ("nobody", "one person", "two people", "three people", "four people", "five people")
    expected = 1.0 if told == seen == 0 else min(told, seen) / max(told, seen)
    count, place = judged(f"{words[told]} on a road", *[box("person", LEFT, NEAR)] * seen)
    assert count == pytest.approx(expected)
    assert place == count  # no place is told


def test_the_score_is_the_mean_of_its_parts() -> None:
    verifier = Agreement(FakeDetector([found(*TWO_LEFT), found()]))
    images = np.zeros((2, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    scores = verifier.score(images, [CAPTION, CAPTION])
    np.testing.assert_array_equal(scores.value, [1, 0])
    assert set(scores.parts) == {"agreement_count", "agreement_place"}


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
