"""Precision and recall of labels from answers, against closed forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from irgen.audit.answers import Answer
from irgen.audit.figures import Judged, measure, proportion
from irgen.records import LabelledBox
from tests.finished import box


def place(**changes) -> dict:
    return {name: box(**changes)[name] for name in ("label", "x_px", "y_px", "w_px", "h_px")}


def judged(*said: tuple[dict, str], added: int = 0, agreement: float = 1.0, moved: dict | None = None) -> Judged:
    boxes = tuple(LabelledBox(**one) for one, _ in said)
    verdicts = [
        {"verdict": verdict, "place": moved if verdict == "fix" and moved else {k: one[k] for k in place()}}
        for one, verdict in said
    ]
    answer = {"verdicts": verdicts, "added": [place(x=30)] * added, "done": True}
    return Judged(boxes, agreement, Answer.model_validate(answer))


def test_one_box_an_image_gives_wilsons_interval_but_for_the_sample_variance():
    found = proportion([1] * 8 + [0] * 2, [1] * 10)
    exact = binomtest(8, 10).proportion_ci(method="wilson")
    assert (found["value"], found["n"]) == (0.8, 10)
    # The design effect of single trials is n / (n - 1), a little over 1.
    assert found["interval"] == pytest.approx([exact.low, exact.high], abs=0.02)
    assert found["interval"][0] < exact.low < exact.high < found["interval"][1]


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (12, 12)])
def test_a_perfect_share_has_wilsons_interval_and_no_certainty(hits, n):
    exact = binomtest(hits, n).proportion_ci(method="wilson")
    assert proportion([hits], [n])["interval"] == pytest.approx([exact.low, exact.high], abs=1e-6)


def test_boxes_that_stand_and_fall_together_count_as_one():
    """Four copies of each trial tell no more than one of each."""
    single = proportion([1] * 30 + [0] * 10, [1] * 40)
    copies = proportion([4] * 30 + [0] * 10, [4] * 40)
    assert copies["value"] == single["value"]
    assert copies["n"] == 4 * single["n"]
    assert copies["interval"] == pytest.approx(single["interval"])


def test_without_a_trial_there_is_no_share():
    assert proportion([0, 0], [0, 0]) == {"value": None, "n": 0, "interval": [0.0, 1.0]}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_a_share_lies_in_its_interval(images):
    found = proportion([hits for hits, _ in images], [hits + misses for hits, misses in images])
    if found["n"]:
        low, high = found["interval"]
        assert 0 <= low <= found["value"] <= high <= 1


def test_accepted_is_a_hit_rejected_is_not_and_added_was_missed():
    figures = measure([judged((box(), "accept"), (box(x=20), "reject"), added=1)])
    assert (figures["boxes"], figures["accepted"], figures["rejected"], figures["added"]) == (2, 1, 1, 1)
    assert figures["precision"]["value"] == 0.5
    assert figures["recall"] == figures["recall_apart_from_ignored"]
    assert (figures["recall"]["value"], figures["recall"]["n"]) == (0.5, 2)


@pytest.mark.parametrize(
    ("moved", "hit"),
    [
        (place(y=8), True),  # 14.25 of 18.25 px high: IoU .78
        (place(y=6 + 16.25 / 2), False),  # half of it: IoU 1/3
        (place(label="cyclist"), False),
    ],
)
def test_a_moved_box_is_a_hit_where_it_was_nearly_right(moved, hit):
    figures = measure([judged((box(), "fix"), moved=moved)])
    assert figures["fixed"] == 1
    assert figures["precision"]["value"] == figures["recall"]["value"] == float(hit)
    assert figures["recall"]["n"] == 1


def test_an_object_under_an_ignore_box_is_missed_but_no_background():
    hidden = box(ignore=True)
    figures = measure([judged((box(x=20), "accept"), (hidden, "accept")), judged((hidden, "reject"))])
    assert figures["precision"] == proportion([1, 0], [1, 0])
    assert figures["recall"]["value"] == 0.5
    assert figures["recall_apart_from_ignored"]["value"] == 1.0
    assert (figures["ignored"], figures["ignored_objects"]) == (2, 1)


def test_a_box_of_the_wrong_class_is_a_miss_of_its_own_and_an_object_of_the_other():
    wrong = judged((box(), "fix"), moved=place(label="cyclist"))
    images = [wrong, judged((box("cyclist"), "accept"), added=1)]
    by_class = {row["label"]: row for row in measure(images)["by_class"]}
    assert set(by_class) == {"cyclist", "person"}
    assert (by_class["person"]["precision"]["value"], by_class["person"]["precision"]["n"]) == (0.0, 1)
    assert (by_class["person"]["recall"]["value"], by_class["person"]["recall"]["n"]) == (0.0, 1)
    assert by_class["cyclist"]["precision"]["value"] == 1.0
    assert (by_class["cyclist"]["recall"]["value"], by_class["cyclist"]["recall"]["n"]) == (0.5, 2)


def test_figures_at_a_score_treat_boxes_under_it_as_ignored():
    images = [judged((box(score=0.95), "accept"), (box(x=20, score=0.65), "reject"), (box(x=30, score=0.55), "accept"))]
    by_score = {row["min_score"]: row for row in measure(images)["by_score"]}
    assert [by_score[score]["precision"]["value"] for score in (0.5, 0.6, 0.7)] == [2 / 3, 0.5, 1.0]
    assert [by_score[score]["recall"]["value"] for score in (0.5, 0.6, 0.7)] == [1.0, 0.5, 0.5]
    assert by_score[0.6]["recall_apart_from_ignored"]["value"] == 1.0


def test_figures_at_an_agreement_leave_images_out():
    images = [judged((box(), "accept")), judged((box(), "reject"), agreement=0.4)]
    by_agreement = {row["min_agreement"]: row for row in measure(images)["by_agreement"]}
    assert (by_agreement[0.25]["images"], by_agreement[0.25]["precision"]["value"]) == (2, 0.5)
    assert (by_agreement[0.5]["images"], by_agreement[0.5]["precision"]["value"]) == (1, 1.0)
