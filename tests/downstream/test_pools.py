import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen.downstream import pools
from irgen.downstream.pools import Pool
from irgen.downstream.settings import DownstreamSettings, Generated
from irgen.errors import StoreError
from irgen.records import Box
from tests import finished

ASKED = DownstreamSettings(width_px=96, height_px=64)


def pool(count, level=0, label="person"):
    images = np.full((count, 8, 8), level, np.uint8)
    images[:, 0, 0] = np.arange(count)
    boxes = tuple((Box(label, 1, 1, 2, 4), Box("people", 4, 4, 2, 2, ignore=True)) for _ in range(count))
    return Pool(images, boxes, tuple(f"v{one // 2}" for one in range(count)))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.25, 0.5, 0.75]))
def test_mixed_has_the_wanted_share_and_loses_no_image(real, others, wanted):
    made, first = pools.mixed(pool(real, 0), pool(others, 200), wanted)
    is_real = made.images_u8[:, 7, 7] == 0
    assert is_real[:first].all() and not is_real[first:].any()
    assert abs(is_real.sum() - wanted * len(made)) <= 1
    assert len(np.unique(made.images_u8[is_real, 0, 0])) == real
    assert len(np.unique(made.images_u8[~is_real, 0, 0])) == others
    assert len(made.boxes) == len(made.groups) == len(made)


def test_smaller_shares_lie_within_larger_ones_and_seeds_differ():
    whole = pool(40)
    few, more = (set(pools.share(whole, part, 3).images_u8[:, 0, 0].tolist()) for part in (0.1, 0.3))
    assert len(few) == 4 and len(more) == 12 and few < more
    assert few != set(pools.share(whole, 0.1, 4).images_u8[:, 0, 0].tolist())
    assert len(pools.share(whole, 1.0, 3)) == 40


def test_a_share_is_of_whole_videos_but_for_the_last():
    for seed in range(5):
        groups = pools.share(pool(40), 7 / 40, seed).groups
        assert len(groups) == 7 and sorted(groups.count(video) for video in set(groups)) == [1, 2, 2, 2]


def test_boxes_of_other_classes_go_and_those_to_be_ignored_stay():
    assert [box.label for box in pools.only(pool(1, label="car"), ["person"]).boxes[0]] == ["people"]
    assert [box.label for box in pools.only(pool(1), ["person"]).boxes[0]] == ["person", "people"]


def test_digest_tells_pixels_boxes_and_ignore():
    digests = {pool(3).digest(), pool(3, 1).digest(), pool(3, label="car").digest(), pool(4).digest()}
    assert len(digests) == 4
    assert pool(3).digest() == pool(3).digest()


def test_generated_images_come_with_their_boxes_resized(tmp_path):
    own = pools.generated(Generated(name="guided", path=finished.finished(tmp_path)), ASKED)
    assert own.images_u8.shape == (len(finished.kept()), 64, 96)
    for number, boxes in zip(finished.kept(), own.boxes, strict=True):
        wanted = sorted((2 * box["x_px"], 2 * box["h_px"], box["ignore"]) for box in finished.boxes(number))
        assert sorted((box.x_px, box.h_px, box.ignore) for box in boxes) == wanted


def test_min_score_turns_boxes_into_ignore_boxes(tmp_path):
    one = Generated(name="guided", path=finished.finished(tmp_path))
    strict = pools.generated(one, ASKED.model_copy(update={"min_score": 0.7}))
    every = pools.facts({"all": pools.generated(one, ASKED), "strict": strict})
    assert every["strict"]["ignored"] > every["all"]["ignored"]
    assert sum(map(len, strict.boxes)) == every["all"]["boxes"] + every["all"]["ignored"]


def test_dataset_without_labels_is_refused(tmp_path):
    path = finished.finished(tmp_path, labelled=False)
    with pytest.raises(StoreError, match="no boxes"):
        pools.generated(Generated(name="guided", path=path), ASKED)
