import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.captions import rules
from irgen.captions.agreement import agreement, read
from irgen.records import Box, Frame

WIDTH_PX, HEIGHT_PX = 640, 512
NEAR, FAR = 200.0, 30.0
LEFT, CENTRE, RIGHT = 60.0, 320.0, 600.0


def box(label: str, x_centre: float, height: float) -> Box:
    return Box(label, x_centre - 10, 100, 20, height)


def judged(caption: str, *boxes: Box) -> tuple[float, float]:
    return agreement(caption, boxes, WIDTH_PX, HEIGHT_PX, rules.NOUNS)


def test_what_is_told_of_classes_that_cannot_be_found_is_not_held_against_an_image() -> None:
    person = box("person", CENTRE, NEAR)
    told = "a road by day with one person near in the middle, a car parked"
    assert agreement(told, [person], WIDTH_PX, HEIGHT_PX, ("person", "cyclist")) == (1, 1)
    assert agreement(told, [person], WIDTH_PX, HEIGHT_PX, ("person", "car"))[0] == 1 / 2


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
