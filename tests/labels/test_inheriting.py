from dataclasses import replace

import pytest

from irgen.labels.inheriting import inherit
from irgen.labels.voting import BOTH, Vote
from irgen.records import LabelledBox
from tests.labels.making import found, true

CLASSES = ("car", "person")


def joined(boxes, *votes: Vote) -> list[LabelledBox]:
    return inherit(boxes, votes, "inherit", 0.2, CLASSES)


def test_a_box_that_both_teachers_find_moves_towards_theirs() -> None:
    (box,) = joined([true(0)], Vote(replace(found(2, score=0.8), teacher_iou=0.7), BOTH))
    assert box.x_px == pytest.approx(4 / 3) and (box.source, box.ignore, box.teacher_iou) == ("inherit", False, 0.7)
    assert box.score == pytest.approx(0.9)


def test_one_teacher_is_enough_for_a_box_that_was_there_before() -> None:
    (box,) = joined([true(0)], Vote(replace(found(2, score=0.4), ignore=True), 1))
    assert box.x_px == pytest.approx(1) and not box.ignore and box.score == pytest.approx(0.7)


def test_a_box_that_nobody_finds_is_to_be_ignored() -> None:
    (box,) = joined([true(0)], Vote(replace(found(30, score=0.1), ignore=True), 0))
    assert (box.x_px, box.ignore, box.score, box.source) == (0, True, 0, "inherit")


def test_a_box_moves_to_where_both_find_it_nearby_but_not_on_the_word_of_one() -> None:
    moved = replace(found(4, score=0.9), teacher_iou=0.8)
    assert joined([true(0)], Vote(moved, BOTH)) == [replace(moved, source="inherit")]
    assert [box.ignore for box in joined([true(0)], Vote(replace(moved, ignore=True), 0))] == [True, True]


def test_a_vote_that_is_hardly_ever_right_confirms_nothing() -> None:
    assert [box.ignore for box in joined([true(0)], Vote(replace(found(0, score=0.1), ignore=True), 0))] == [True]


def test_a_part_of_an_object_that_has_its_box_is_no_other_object() -> None:
    whole, part = Vote(found(0, score=0.9), BOTH), Vote(found(1, 5, 6, 6, score=0.9), BOTH)
    assert len(joined([true(0)], whole, part)) == 1


def test_what_was_to_be_ignored_stays_so_and_an_unknown_class_is() -> None:
    boxes = joined([true(0, label="people", ignore=True), true(20, label="dog")])
    assert [(box.label, box.x_px, box.ignore) for box in boxes] == [
        *[(label, 0, True) for label in CLASSES],
        *[(label, 20, True) for label in CLASSES],
    ]
    kept = replace(true(0), ignore=True)
    assert [(box.label, box.ignore) for box in joined([kept])] == [("person", True)]


def test_what_the_teachers_see_beyond_is_theirs() -> None:
    seen = found(30, score=0.9)
    doubtful = replace(found(15, label="car", score=0.3), ignore=True)
    assert joined([], Vote(seen, BOTH), Vote(doubtful, 0)) == [seen, doubtful]


def test_an_object_that_has_a_box_gets_no_second_one_of_another_class() -> None:
    boxes = joined([true(0)], Vote(replace(found(0, label="car", score=0.6), ignore=True), 0))
    assert [(box.label, box.ignore) for box in boxes] == [("person", True)]
