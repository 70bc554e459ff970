import numpy as np
import pytest

from irgen.labels import calibration
from irgen.labels.calibration import NEVER, Outcomes, likelihood, outcomes
from tests.labels.making import found, true


def judged(*right: bool, objects: int = 0) -> Outcomes:
    """Boxes of falling scores from .99 on, right or wrong."""
    return Outcomes(0.99 - 0.01 * np.arange(len(right)), np.array(right, bool), objects or sum(right))


def test_a_box_is_right_once_for_each_object() -> None:
    one = outcomes([[found(0, score=0.9), found(1, score=0.8), found(30, score=0.7)]], [[true(0)]], "person")
    assert one.right.tolist() == [True, False, False] and one.objects == 1


def test_boxes_of_other_classes_and_images_do_not_help() -> None:
    one = outcomes([[found(0)], []], [[true(0, label="car")], [true(0)]], "person")
    assert one.right.tolist() == [False] and one.objects == 1


def test_a_box_in_an_ignore_box_counts_neither_way_and_ignored_objects_need_not_be_found() -> None:
    crowd = true(0, 0, 20, 30, label="people", ignore=True)
    one = outcomes([[found(2), found(30)]], [[crowd, true(5, ignore=True)]], "person")
    assert one.right.tolist() == [False] and one.objects == 0


def test_average_precision_of_closed_forms() -> None:
    assert judged(True, True).average_precision() == pytest.approx(1)
    assert judged(False, True, objects=1).average_precision() == pytest.approx(0.5)
    # All recalls up to one half at precision 1, the others never: 51 of 101.
    assert judged(True, objects=2).average_precision() == pytest.approx(51 / 101)
    assert judged(objects=3).average_precision() == 0


def drawn(likely, count: int = 4000) -> Outcomes:
    """Boxes of all scores, right with probability `likely(score)`."""
    scores = np.sort(np.random.default_rng(0).random(count))[::-1]
    return Outcomes(scores, np.random.default_rng(1).random(count) < likely(scores), count)


def test_the_threshold_is_the_score_about_which_so_many_are_right() -> None:
    one = drawn(lambda score: score)
    for precision in (0.5, 0.8, 0.9):
        assert one.threshold(precision) == pytest.approx(precision, abs=0.03)
    # Of all boxes from .9 on 19 in 20 are right; but those do not answer for the doubtful.
    assert one.right[one.scores >= 0.9].mean() > 0.94 and one.threshold(0.95) > 0.93


def test_scores_that_tell_nothing_are_trusted_all_or_none() -> None:
    one = drawn(lambda score: 0.8 - 0.05 * score)
    assert one.threshold(0.7) == 0 and one.threshold(0.9) == NEVER
    assert judged(*[False] * 20).threshold(0.1) == NEVER


def test_nothing_is_trusted_on_a_handful_of_examples() -> None:
    assert judged(*[True] * 9).threshold(0.5) == NEVER > 1
    assert judged(*[True] * 10).threshold(0.5) < 1


def test_the_table_tells_precision_and_recall_of_what_scores_so_much() -> None:
    one = Outcomes(np.array([0.9, 0.6, 0.4]), np.array([True, False, True]), 4)
    rows = {row["score"]: row for row in one.table()}
    assert rows[0.5] == {"score": 0.5, "found": 2, "precision": 0.5, "recall": 0.25}
    assert rows[0.95]["found"] == 0 and rows[0.95]["precision"] == 1


def test_the_likelihood_of_a_score_is_the_share_that_is_right_about_there() -> None:
    curve = drawn(lambda score: score**2).curve()
    for score in (0.2, 0.5, 0.8):
        assert likelihood(curve, score) == pytest.approx(score**2, abs=0.05)
    rising = [likelihood(curve, score) for score in (0, 0.1, 0.5, 0.9, 1)]
    assert rising == sorted(rising) and rising[0] >= 0 and rising[-1] <= 1
    assert likelihood(Outcomes(np.array([]), np.array([], bool), 3).curve(), 0.7) == pytest.approx(0, abs=1e-5)


def test_a_few_right_boxes_do_not_make_certainty() -> None:
    assert likelihood(judged(*[True] * 10).curve(), 0.95) == pytest.approx(11 / 12, abs=0.02)


def test_a_summary_has_every_class() -> None:
    document = calibration.summary({"person": judged(True), "car": judged(False, objects=1)})
    assert document["ap50"] == pytest.approx(0.5) and set(document["classes"]) == {"person", "car"}
