import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from irgen.metrics.missrate import (
    FPPI_POINTS,
    Detections,
    Matched,
    Objects,
    Setting,
    curve,
    log_average,
    match,
    overlap,
    recall,
    to_ignore,
)

SETTING = Setting()
BOX = (100.0, 100.0, 30.0, 60.0)


def objects(*boxes, occlusions=None, ignore=None):
    px = np.array(boxes, float).reshape(-1, 4)
    return Objects(
        px,
        np.array(occlusions or [0] * len(px), np.int64),
        np.array(ignore or [False] * len(px), bool),
        px[:, 3],
    )


def detections(*rows):
    table = np.array(rows, float).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4])


def matched(right, scores=None, wanted=1):
    right = np.array(right, bool)
    return Matched(np.array(scores if scores is not None else np.linspace(1, 0.5, len(right))), right, wanted)


def test_perfect_detector_reaches_the_floor():
    image = match(objects(BOX), detections((*BOX, 0.9)), SETTING)
    assert image.right.tolist() == [True]
    assert log_average([image]) == pytest.approx(1e-10)
    assert recall([image]) == 1


def test_nothing_found_is_a_miss_rate_of_one():
    image = match(objects(BOX), detections(), SETTING)
    assert log_average([image]) == 1
    assert recall([image]) == 0


def test_nothing_to_find_is_no_number():
    image = match(objects(), detections((*BOX, 0.9)), SETTING)
    assert np.isnan(log_average([image]))
    assert np.isnan(recall([image]))


def test_few_images_with_a_false_positive_first_miss_everything_below_its_fppi():
    # One false positive in 2 images is 0.5 FPPI: the 7 points below it see nothing, the 2 above it half the objects.
    images = [matched([False, True], [0.9, 0.8]), matched([], [])]
    assert (FPPI_POINTS < 0.5).sum() == 7
    assert log_average(images) == pytest.approx(0.5 ** (2 / 9))


def test_miss_rate_is_the_geometric_mean_over_the_points():
    # 100 images: false positives number k at k/100; a right one follows each of the first four.
    images = [matched([False, True] * 4, np.linspace(1, 0.5, 8), 8), *[matched([], []) for _ in range(99)]]
    found = [min(4, int(np.floor(point * 100 + 1e-9))) for point in FPPI_POINTS]
    expected = np.exp(np.mean([np.log(1 - right / 107) for right in found]))
    assert log_average(images) == pytest.approx(expected)


def test_detection_in_an_ignored_box_counts_neither_way():
    people = (200.0, 100.0, 200.0, 100.0)
    truth = objects(BOX, people, ignore=[False, True])
    within = (220.0, 110.0, 20.0, 60.0)  # A ninth of the box's area, yet wholly inside it.
    image = match(truth, detections((*within, 0.95), (*within, 0.9), (*BOX, 0.5)), SETTING)
    assert image.right.tolist() == [True]
    assert image.objects == 1


def test_a_detection_half_in_an_ignored_box_counts_neither_way():
    truth = objects((100, 100, 30, 60), ignore=[True])
    image = match(truth, detections((115, 100, 30, 60, 0.9), (116, 100, 30, 60, 0.8)), SETTING)
    assert image.scores.tolist() == [0.8]


def test_second_detection_of_an_object_is_a_false_positive():
    image = match(objects(BOX), detections((*BOX, 0.5), (*BOX, 0.9)), SETTING)
    assert image.scores.tolist() == [0.9, 0.5]
    assert image.right.tolist() == [True, False]


def test_object_is_preferred_to_an_ignored_box_that_overlaps_more():
    truth = objects((100, 100, 30, 60), (90, 90, 60, 90), ignore=[False, True])
    image = match(truth, detections((100, 100, 32, 64, 0.9)), SETTING)
    assert image.right.tolist() == [True]


def test_overlap_of_exactly_half_is_a_match():
    image = match(objects((100, 100, 30, 60)), detections((100, 100, 30, 120, 0.9)), SETTING)
    assert image.right.tolist() == [True]
    image = match(objects((100, 100, 30, 60)), detections((100, 100, 30, 120.1, 0.9)), SETTING)
    assert image.right.tolist() == [False]


SIDES = st.tuples(*[st.floats(0, 4)] * 2, *[st.floats(0.01, 3)] * 2)


@given(st.lists(SIDES, min_size=1, max_size=4), st.lists(st.tuples(SIDES, st.booleans()), min_size=1, max_size=4))
def test_overlaps_are_those_of_pycocotools_with_its_crowds_for_ignored_boxes(found, wanted):
    boxes_px, objects_px = np.array(found), np.array([box for box, _ in wanted])
    ignored = np.array([ignore for _, ignore in wanted])
    reference = mask.iou(boxes_px, objects_px, ignored.astype(np.uint8))
    np.testing.assert_allclose(overlap(boxes_px, objects_px, ignored), reference, atol=1e-9)


@pytest.mark.filterwarnings("error")
def test_boxes_without_area_overlap_nothing_not_even_one_another():
    flat = np.array([[1.0, 1.0, 0.0, 2.0], [1.0, 1.0, 2.0, -1.0]])
    assert overlap(flat, np.abs(flat), np.array([False, True])).tolist() == [[0, 0], [0, 0]]


def test_a_curve_counts_false_positives_per_image():
    fppi, found = curve([matched([False, True])])
    assert (fppi.tolist(), found.tolist()) == ([1, 1], [0, 1])
    fppi, found = curve([])
    assert (fppi.tolist(), found.tolist()) == ([], [])


@pytest.mark.parametrize(
    ("box", "occlusion", "ignored"),
    [
        ((100, 100, 20, 55), 0, False),
        ((100, 100, 20, 54.9), 0, True),
        ((100, 100, 20, 60), 1, False),
        ((100, 100, 20, 60), 2, True),
        ((4.9, 100, 20, 60), 0, True),
        ((5, 5, 20, 60), 0, False),
        ((100, 4, 20, 60), 0, True),
        ((615, 100, 20, 60), 0, False),
        ((615.1, 100, 20, 60), 0, True),
        ((100, 447, 20, 60), 0, False),
        ((100, 447.1, 20, 60), 0, True),
    ],
)
def test_reasonable_asks_for_height_occlusion_and_bounds(box, occlusion, ignored):
    assert to_ignore(objects(box, occlusions=[occlusion]), SETTING).tolist() == [ignored]


def test_scaled_setting_ignores_the_same_objects():
    boxes = np.array([(100, 100, 20, 55), (100, 100, 20, 54), (4, 100, 20, 60), (614, 100, 20, 60)], float)
    factor = np.array([96 / 640, 80 / 512, 96 / 640, 80 / 512])
    small = to_ignore(objects(*(boxes * factor + [1e-9, 0, 0, 1e-9])), SETTING.scaled(96, 80))
    assert small.tolist() == to_ignore(objects(*boxes), SETTING).tolist()


def test_detection_without_area_finds_nothing():
    image = match(objects(BOX), detections((100, 100, -30, -60, 0.9), (100, 100, 0, 60, 0.8)), SETTING)
    assert image.right.tolist() == [False, False]


ranked = st.lists(st.tuples(st.booleans(), st.integers(0, 10)), max_size=12)


@given(st.lists(ranked, min_size=1, max_size=6), st.integers(1, 30))
def test_curve_rises_and_rates_stay_within_bounds(rows, wanted):
    images = [matched([one for one, _ in own], [score / 10 for _, score in own], wanted) for own in rows]
    found = sum(one for own in rows for one, _ in own)
    if found > wanted * len(rows):
        return
    fppi, recalls = curve(images)
    assert (np.diff(fppi) >= 0).all() and (np.diff(recalls) >= 0).all()
    assert 0 < log_average(images) <= 1
    assert recall(images) == pytest.approx(found / (wanted * len(rows)))


@given(st.lists(ranked, min_size=1, max_size=6))
def test_a_surer_false_positive_never_helps(rows):
    images = [matched([one for one, _ in own], [score / 10 for _, score in own], 20) for own in rows]
    worse = [*images[:-1], matched([False, *images[-1].right], [2.0, *images[-1].scores], 20)]
    assert log_average(worse) >= log_average(images) - 1e-12


@given(st.permutations(range(5)))
def test_result_does_not_depend_on_the_order_of_detections(order):
    rows = [(*BOX, 0.9), (300, 100, 30, 60, 0.8), (102, 100, 30, 60, 0.7), (400, 100, 30, 60, 0.6), (0, 0, 9, 60, 0.5)]
    truth = objects(BOX, (300, 102, 30, 60))
    image = match(truth, detections(*[rows[place] for place in order]), SETTING)
    assert image.right.tolist() == [True, True, False, False, False]
