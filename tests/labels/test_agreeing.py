from dataclasses import replace

import pytest

from irgen.labels.agreeing import doubt_untold
from tests.labels.making import found

KNOWN = ("person", "cyclist", "car", "dog")
BOXES = [found(0), found(20, label="car"), found(40, label="cyclist"), found(60, label="dog")]


@pytest.mark.parametrize(
    ("caption", "doubted"),
    [
        ("a road at night with one person near on the left", {"car", "cyclist"}),
        ("a road with two cars far on the right and nobody", {"person", "cyclist"}),
        ("a campus without people", {"person", "cyclist", "car"}),
        ("a road with a group of people in the middle and a cyclist", {"car"}),
        ("a road with one cyclist near, past parked cars", {"person"}),
        ("an oscar on a road with one person near", {"car", "cyclist"}),
    ],
)
def test_what_a_caption_leaves_out_is_doubted(caption: str, doubted: set[str]) -> None:
    boxes = doubt_untold(caption, BOXES, KNOWN)
    assert {box.label for box in boxes if box.ignore} == doubted
    assert [replace(box, ignore=False) for box in boxes] == BOXES


@pytest.mark.parametrize("caption", ["", "a road by day", "parked vehicles before a house"])
def test_a_caption_that_tells_nobody_and_nothing_doubts_nothing(caption: str) -> None:
    assert doubt_untold(caption, BOXES, KNOWN) == BOXES


def test_a_caption_that_tells_only_what_cannot_be_found_doubts_nothing() -> None:
    boxes = [found(0)]
    assert doubt_untold("a road by day, a car parked", boxes, ("person", "cyclist")) == boxes


def test_a_box_that_the_image_was_started_from_needs_no_caption() -> None:
    inherited = replace(found(0, label="car"), source="inherit")
    assert doubt_untold("a road with nobody", [inherited], KNOWN) == [inherited]
