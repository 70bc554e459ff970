import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from irgen.labels.boxes import corners, iou, pairs, share_inside
from irgen.records import Box
from tests.labels.making import found, true

SIDES = st.floats(0.5, 40)
BOXES = st.lists(st.builds(Box, st.just("person"), SIDES, SIDES, SIDES, SIDES), max_size=5)


@given(BOXES, BOXES)
def test_overlap_is_that_of_torchvision(first: list[Box], second: list[Box]) -> None:
    reference = box_iou(torch.from_numpy(corners(first)), torch.from_numpy(corners(second)))
    assert np.allclose(iou(first, second), reference.numpy(), atol=1e-9)


def test_a_box_lies_inside_a_region_by_its_own_area() -> None:
    assert share_inside([true(0, 0, 10, 10)], [true(5, 0, 100, 100)]).item() == 0.5


def test_pairs_are_of_one_class_and_overlap_enough() -> None:
    first, second = [true(0), true(20), true(40, label="car")], [found(1), found(28), found(40)]
    assert [(one, other) for one, other, _ in pairs(first, second)] == [(0, 0)]
    assert pairs([], second) == pairs(first, []) == []


def test_pairs_make_the_most_of_all_boxes_not_of_the_first() -> None:
    first, second = [true(0), true(2)], [found(1), found(-1.5)]
    assert [(one, other) for one, other, _ in pairs(first, second)] == [(0, 1), (1, 0)]
