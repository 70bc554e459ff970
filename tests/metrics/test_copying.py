import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.errors import IrgenError
from irgen.metrics import copying as module
from irgen.metrics.copying import copying, nearest


def features(seed: int, count: int, dimensions: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**31))
def test_the_nearest_frame_is_the_one_that_a_search_through_all_finds(n: int, frames: int, seed: int) -> None:
    x, training = features(seed, n), features(seed + 1, frames)
    apart = np.linalg.norm(x[:, None] - training[None], axis=-1)
    found = nearest(x, training)
    np.testing.assert_array_equal(found.row, apart.argmin(axis=1))
    np.testing.assert_allclose(found.distance, apart.min(axis=1), rtol=1e-9)


def test_a_copy_is_at_exactly_no_distance_even_far_from_zero() -> None:
    training = features(1, 50) + 1e6
    found = nearest(training[[7, 3]], training)
    assert found.row.tolist() == [7, 3] and found.distance.tolist() == [0, 0]


def test_more_images_than_fit_at_once_are_found_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x, training = features(2, 23), features(3, 9)
    whole = nearest(x, training)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 4)
    parts = nearest(x, training)
    np.testing.assert_array_equal(parts.row, whole.row)
    np.testing.assert_allclose(parts.distance, whole.distance, rtol=1e-12)


def test_new_images_of_the_same_distribution_are_no_copies() -> None:
    assert copying(features(4, 600), features(5, 600), features(6, 600)) == pytest.approx(0.5, abs=0.05)


def test_copies_are_told_and_half_of_them_half() -> None:
    training, held_out = features(7, 300), features(8, 400)
    near = training + 1e-3
    assert copying(near, held_out, training) == 1
    mixed = np.concatenate([near, features(9, 300)])
    assert copying(mixed, held_out, training) == pytest.approx(0.75, abs=0.05)


def test_images_like_nothing_real_are_no_copies_either() -> None:
    assert copying(features(10, 50) + 30, features(11, 50), features(12, 50)) == 0


def test_a_held_out_set_against_itself_is_a_tie() -> None:
    held_out = features(13, 40)
    assert copying(held_out, held_out, features(14, 60)) == 0.5


def test_empty_sets_are_refused() -> None:
    x = features(15, 3)
    with pytest.raises(IrgenError, match="no training frame"):
        nearest(x, x[:0])
    with pytest.raises(IrgenError, match="0 generated images and 3 held-out frames"):
        copying(x[:0], x, x)
