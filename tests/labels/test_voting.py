from dataclasses import replace

import pytest

from irgen.labels.voting import BOTH, Vote, doubt_nested, votes
from irgen.records import LabelledBox
from tests.labels.making import found


def test_what_both_find_is_one_box_between_the_two_nearer_the_surer() -> None:
    (vote,) = votes([found(0, score=0.9)], [found(2, score=0.3)])
    assert vote.voter == BOTH
    assert vote.box.x_px == pytest.approx(0.5) and vote.box.w_px == pytest.approx(8)
    assert vote.box.score == pytest.approx(0.6)
    assert vote.box.teacher_iou == pytest.approx(6 / 10)


def test_what_only_one_finds_keeps_its_finder() -> None:
    assert [(vote.voter, vote.box) for vote in votes([found(0)], [found(30, score=0.5)])] == [
        (0, found(0)),
        (1, found(30, score=0.5)),
    ]


def test_an_object_that_each_calls_otherwise_is_there_once_by_the_surer_name() -> None:
    (vote,) = votes([found(0, score=0.4)], [found(1, score=0.7, label="cyclist")])
    assert (vote.voter, vote.box.label) == (1, "cyclist")


def test_a_box_beside_an_agreed_one_of_the_same_object_goes_however_sure_it_is() -> None:
    kept = votes([found(0, score=0.3), found(1, score=0.9, label="cyclist")], [found(0, score=0.3)])
    assert [vote.voter for vote in kept] == [BOTH]


def test_the_sure_ones_of_both_are_paired_though_a_doubtful_one_lies_closer() -> None:
    sure, doubtful = found(2, score=0.9), found(0.5, score=0.1)
    (vote,) = [vote for vote in votes([found(0, score=0.9)], [doubtful, sure]) if vote.voter == BOTH]
    assert vote.box.score == pytest.approx(0.9) and vote.box.x_px == pytest.approx(1)


def test_nothing_found_is_no_vote() -> None:
    assert votes([], []) == []


def doubted(*boxes: LabelledBox) -> list[bool]:
    return [vote.box.ignore for vote in doubt_nested([Vote(box, BOTH) for box in boxes])]


def test_of_two_boxes_one_within_the_other_the_surer_is_kept() -> None:
    whole, part = found(0, 0, 20, 20), found(2, 2, 6, 8)
    assert doubted(replace(whole, score=0.9), replace(part, score=0.8)) == [False, True]
    assert doubted(replace(whole, score=0.8), replace(part, score=0.9)) == [True, False]


def test_boxes_of_two_classes_side_by_side_or_already_doubted_doubt_nobody() -> None:
    whole, part = found(0, 0, 20, 20, score=0.9), found(2, 2, 6, 8)
    assert doubted(whole, replace(part, label="car")) == [False, False]
    assert doubted(whole, found(12, 2, 14, 8)) == [False, False]
    assert doubted(replace(whole, ignore=True), part) == [True, False]


def test_a_part_of_what_is_itself_doubted_is_kept() -> None:
    assert doubted(found(0, 0, 20, 20, 0.9), found(2, 2, 17, 17, 0.8), found(1, 12, 1, 6, 0.7)) == [False, True, True]
    assert doubted(found(4, 4, 16, 16, 0.9), found(2, 2, 18, 18, 0.8), found(2, 2, 2, 16, 0.7)) == [False, True, False]
