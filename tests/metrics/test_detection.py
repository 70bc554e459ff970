import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.metrics.detection import Evaluation
from irgen.records import Box, LabelledBox


def truth(x=10.0, label="person", ignore=False, width=10.0):
    return Box(label, x, 20.0, width, 30.0, ignore=ignore)


def found(x=10.0, score=0.9, label="person", width=10.0):
    return LabelledBox(label, x, 20.0, width, 30.0, score, "teacher", 0.0, False)


def test_perfect_detections_have_an_ap_of_one():
    own = Evaluation([[truth()], [truth(40)]], [[found()], [found(40)]], ["person"]).figures()
    assert own == pytest.approx({"ap50": 1.0, "ap": 1.0})


def test_surer_false_positive_halves_precision():
    own = Evaluation([[truth()]], [[found(70, 0.95), found()]], ["person"]).figures()
    assert own["ap50"] == pytest.approx(0.5)


def test_overlap_counts_up_to_its_threshold():
    # Of IoU 2/3: right at .50 to .65, four of the ten thresholds.
    own = Evaluation([[truth(10)]], [[found(12)]], ["person"]).figures()
    assert own == pytest.approx({"ap50": 1.0, "ap": 0.4})


def test_classes_are_averaged_and_one_without_objects_is_left_out():
    images = [[truth(), truth(40, "car")]]
    assert Evaluation(images, [[found()]], ["person", "car"]).figures()["ap50"] == pytest.approx(0.5)
    assert Evaluation(images, [[found()]], ["person", "car", "cyclist"]).figures()["ap50"] == pytest.approx(0.5)


def test_what_lies_in_an_ignored_box_counts_neither_way():
    images = [[truth(), truth(50, "people", ignore=True, width=40)]]
    own = Evaluation(images, [[found(55, 0.99), found(70, 0.98), found()]], ["person"]).figures()
    assert own["ap50"] == pytest.approx(1.0)


def test_no_detections_are_zero_and_nothing_to_find_is_no_number():
    assert Evaluation([[truth()]], [[]], ["person"]).figures() == {"ap50": 0.0, "ap": 0.0}
    assert np.isnan(Evaluation([[]], [[found()]], ["person"]).figures()["ap50"])


def test_other_numbers_of_images_and_bad_scores_are_refused():
    with pytest.raises(ValueError, match="2 images of truth, 1"):
        Evaluation([[], []], [[]], ["person"])
    with pytest.raises(ValueError, match="not finite"):
        Evaluation([[truth()]], [[found(score=float("nan"))]], ["person"])


scene = st.lists(
    st.tuples(st.integers(0, 80), st.integers(-4, 4), st.integers(1, 99), st.sampled_from(["person", "car"])),
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(scene, min_size=2, max_size=5), st.data())
def test_resampled_images_give_what_a_set_of_those_images_gives(scenes, data):
    truths = [[truth(float(x), label) for x, _, _, label in own] for own in scenes]
    detections = [[found(float(x + dx), score / 100, label) for x, dx, score, label in own] for own in scenes]
    rows = data.draw(st.lists(st.integers(0, len(scenes) - 1), min_size=1, max_size=6))
    evaluation = Evaluation(truths, detections, ["person", "car"])
    anew = Evaluation([truths[row] for row in rows], [detections[row] for row in rows], ["person", "car"])
    assert evaluation.figures(rows) == pytest.approx(anew.figures(), nan_ok=True)
    whole = Evaluation(truths, detections, ["person", "car"]).figures()
    assert evaluation.figures() == pytest.approx(whole, nan_ok=True)
