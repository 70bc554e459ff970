"""Captions by rule: true, of a closed vocabulary, and never too long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen.captions import rules
from irgen.errors import IrgenError
from irgen.records import Box, Frame


def words(text: str) -> int:
    return len(text.replace(",", " ,").split()) + 2


def frame(*boxes: Box, time: str = "night", place: str = "road", name: str = "set04/V000/I00001") -> Frame:
    return Frame(name, "kaist", "train", "set04", "set04/V000", time, place, "v", "l", "", "", 640, 512, boxes)


def person(x_px: float, height_px: float, label: str = "person") -> Box:
    return Box(label, x_px, 100, 0.4 * height_px, height_px)


def text(*boxes: Box, seed: int = 0, **known: str) -> str:
    return rules.caption(frame(*boxes, **known), seed, words).caption


boxes = st.lists(
    st.builds(
        Box,
        st.sampled_from(["person", "people", "person?", "cyclist", "car", "truck"]),
        st.floats(0, 600),
        st.floats(0, 300),
        st.floats(4, 200),
        st.floats(4, 400),
    ),
    max_size=20,
)


def test_tells_count_distance_and_side() -> None:
    told = text(person(40, 200), person(70, 180))
    assert re.search(r"two people near (on|at) the left", told)
    assert "road" in told and "at night" in told


@pytest.mark.parametrize(
    ("height_px", "distance"), [(116, "near"), (115, "midway"), (46, "midway"), (45, "far"), (20, "far")]
)
def test_distance_limits_are_kaists(height_px: float, distance: str) -> None:
    assert distance in text(person(300, height_px))


@pytest.mark.parametrize(("x_px", "side"), [(10, "left"), (310, "the (centre|middle)"), (600, "right")])
def test_side_is_where_the_box_centre_lies(x_px: float, side: str) -> None:
    assert re.search(side, text(person(x_px, 50)))


def test_says_when_there_is_nobody() -> None:
    assert re.search("nobody|without people", text())
    assert "nobody" in text(Box("car", 10, 200, 200, 150))


def test_without_annotations_nobody_is_not_claimed_to_be_absent() -> None:
    assert rules.caption(frame(), 0, words, annotated=False).caption == "a road at night"


def test_an_uncertain_person_is_neither_told_nor_denied() -> None:
    told = text(person(10, 50, "person?"))
    assert "person" not in told and "nobody" not in told and "without" not in told


def test_a_crowd_is_a_group_of_people() -> None:
    assert "a group of people" in text(person(10, 150, "people"))


def test_unknown_time_and_place_are_left_out() -> None:
    told = text(person(10, 150), time="", place="")
    assert not re.search("night|day|road|street|campus", told)


def test_wording_varies_with_the_frame_and_not_with_the_call() -> None:
    told = {text(person(10, 150), name=f"set00/V000/I{k:05d}") for k in range(60)}
    assert len(told) >= 6
    assert text(person(10, 150), seed=3) == text(person(10, 150), seed=3)


def test_counts_leave_out_uncertain_persons() -> None:
    assert rules.counts([person(1, 9), person(1, 9, "person?"), person(1, 9, "people")]) == {"person": 1, "people": 1}


def test_details_of_the_smallest_go_first() -> None:
    items = (person(40, 300), person(310, 100), person(600, 20))
    full = rules.caption(frame(*items), 0, words)
    assert not full.shortened
    short = rules.caption(frame(*items), 0, words, full.tokens - 1)
    assert short.shortened and "far" not in short.caption
    assert "near" in short.caption and "midway" in short.caption


def test_too_small_a_limit_is_an_error_that_says_so() -> None:
    with pytest.raises(IrgenError, match="fits into 3 tokens"):
        rules.caption(frame(), 0, words, 3)


@given(boxes, st.integers(0, 2**31), st.integers(12, 77), st.sampled_from(["day", "night", ""]))
def test_any_caption_is_of_the_vocabulary_and_fits(items: list[Box], seed: int, limit: int, time: str) -> None:
    made = rules.caption(frame(*items, time=time), seed, words, limit)
    assert set(made.caption.replace(",", " ").split()) <= rules.VOCABULARY
    assert made.tokens == max(words(made.infrared), words(made.grayscale)) <= limit
    assert made.infrared == "An INFRARED photo of " + made.caption
    assert made.grayscale == "A GRAYSCALE photo of " + made.caption
    assert made.shortened or made.tokens == rules.caption(frame(*items, time=time), seed, words, 1000).tokens


@given(boxes, st.integers(0, 100))
def test_an_unshortened_caption_tells_every_object(items: list[Box], seed: int) -> None:
    made = rules.caption(frame(*items), seed, words, 1000)
    numbers = {word: k + 1 for k, word in enumerate(rules.NUMBERS)} | {"a": 1, "many": 13}
    found = re.findall(r"\b(\w+) (?:person|people|cyclists?|cars?|groups? of people) (?:near|midway|far)", made.caption)
    if max((g.count for g in rules.group(frame(*items))), default=0) <= 12:
        assert sum(numbers[word] for word in found) == sum(rules.counts(items).values())
