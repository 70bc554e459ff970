import pytest

from irgen.labels.voting import BOTH, votes
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


def test_nothing_found_is_no_vote() -> None:
    assert votes([], []) == []
