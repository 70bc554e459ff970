import numpy as np
import pytest

from irgen.downstream.pools import Pool
from irgen.downstream.summary import Judged, summarise
from irgen.metrics.missrate import Setting
from irgen.records import Box, LabelledBox

SETTING = Setting(8.0, (0, 1), (0.0, 0.0, 96.0, 80.0))
COUNT = 24
TEST = Pool(
    np.zeros((COUNT, 80, 96), np.uint8),
    tuple((Box("person", 10, 10, 10, 30), Box("car", 40, 10, 20, 10)) for _ in range(COUNT)),
    tuple(f"v{one // 4}" for one in range(COUNT)),
)


def judged(right, seed=0):
    """A detector that finds a share of persons, and every car."""
    order = np.random.default_rng(seed).permutation(COUNT)
    rows = [
        [LabelledBox("car", 40, 10, 20, 10, 0.8, "teacher", 0.0, False)]
        + [LabelledBox("person", 10, 10, 10, 30, 0.9, "teacher", 0.0, False)] * bool(order[one] < right * COUNT)
        for one in range(COUNT)
    ]
    return Judged(TEST, rows, ["car", "person"], SETTING)


def summed(cells, pairs):
    return summarise(cells, TEST.groups, pairs, resamplings=60, seed=0)


def test_figures_of_one_detector():
    figures = judged(0.5).figures(np.arange(COUNT))
    # Half of the persons at full precision are 51 of COCO's 101 recalls; all cars are found, and are no persons.
    assert figures == pytest.approx([100 * (1 + 51 / 101) / 2, 100 * (1 + 51 / 101) / 2, 50])


def test_better_arm_gains_beyond_its_interval_and_the_other_way_round():
    cells = {
        ("real", 0.1): [judged(0.25, s) for s in range(3)],
        ("real + guided", 0.1): [judged(1, s) for s in range(3)],
    }
    found = summed(cells, [(("real + guided", 0.1), ("real", 0.1))])
    gain = found["gains"][0]
    assert (gain["arm"], gain["over"]) == ("real + guided", "real")
    assert gain["ap50"]["ci95"][0] > 0
    assert gain["miss_rate"]["ci95"][1] < 0
    assert len(found["cells"][0]["by_seed"]) == 3


def test_equal_arms_gain_nothing_however_wide_their_intervals():
    own = [judged(0.5, seed) for seed in range(3)]
    found = summed({("a", 0.1): own, ("b", 0.1): own}, [(("b", 0.1), ("a", 0.1))])
    assert found["gains"][0]["ap50"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    low, high = found["cells"][0]["ap50"]["ci95"]
    assert high > low


def test_same_seed_same_intervals():
    cells = {("a", 0.1): [judged(0.5, seed) for seed in range(2)]}
    assert summed(cells, []) == summed(cells, [])


def test_metric_of_which_the_frames_hold_nothing_is_none():
    boxes = tuple((Box("car", 40, 10, 20, 10),) for _ in range(COUNT))
    test = Pool(TEST.images_u8, boxes, TEST.groups)
    cells = {("a", 0.1): [Judged(test, [[] for _ in range(COUNT)], ["car"], SETTING)]}
    row = summarise(cells, TEST.groups, [], resamplings=5, seed=0)["cells"][0]
    assert row["miss_rate"] is None
    assert row["ap50"]["value"] == 0
