import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from irgen import seeds
from irgen.errors import IrgenError
from irgen.metrics.kernel import Kernels, kernel_distance, kid


def features(seed: int, count: int, dimensions: int = 12, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


def polynomial(x: np.ndarray, y: np.ndarray) -> float:
    return (float(x @ y) / len(x) + 1) ** 3


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """The definition (Gretton et al. 2012, equation 3), pair by pair."""
    within = [np.mean([polynomial(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    return sum(within) - 2 * float(np.mean([polynomial(a, b) for a in x for b in y]))


def test_two_points_against_two_have_the_distance_one_finds_by_hand() -> None:
    # k(0, anything) = 1; k([2], [1]) = 27, k([1], [3]) = 64, k([2], [3]) = 343.
    assert kernel_distance(np.array([[0.0], [2]]), np.array([[1.0], [3]])) == pytest.approx(
        1 + 64 - 2 * (1 + 1 + 27 + 343) / 4
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.integers(1, 5), st.integers(0, 2**31))
def test_it_is_the_definition(n: int, m: int, dimensions: int, seed: int) -> None:
    x, y = features(seed, n, dimensions), features(seed + 1, m, dimensions, 0.5)
    assert kernel_distance(x, y) == pytest.approx(by_pairs(x, y), rel=1e-9, abs=1e-12)


def test_over_whole_sets_kid_is_torch_fidelitys() -> None:
    x, y = features(1, 60), features(2, 60, shift=0.3)
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=2, kid_subset_size=60, verbose=False
    )
    ours = kid(x, y, seeds.generator(0, 0, "test"), subsets=2, subset_size=60)
    assert ours.mean == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-9)
    assert ours.deviation == pytest.approx(0, abs=1e-12)


def test_kid_over_random_subsets_is_torch_fidelitys_within_the_subsets_noise() -> None:
    x, y = features(3, 400), features(4, 400, shift=0.3)
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=100, kid_subset_size=100, verbose=False
    )[KEY_METRIC_KID_MEAN]
    ours = kid(x, y, seeds.generator(0, 0, "test"), subset_size=100)
    assert ours.deviation > 0
    assert abs(ours.mean - theirs) < 4 * ours.deviation * np.sqrt(2 / 100)
    assert abs(ours.mean - kernel_distance(x, y)) < 4 * ours.deviation / np.sqrt(100)


def test_kid_does_not_read_or_move_the_global_random_state() -> None:
    x, y = features(5, 40), features(6, 40)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = kid(x, y, seeds.generator(7, 0, "test"), subsets=5, subset_size=20)
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(2)
    assert kid(x, y, seeds.generator(7, 0, "test"), subsets=5, subset_size=20) == first
    assert kid(x, y, seeds.generator(8, 0, "test"), subsets=5, subset_size=20) != first


def test_its_mean_over_equal_distributions_is_zero_however_few_the_images() -> None:
    values = [kernel_distance(features(2 * k, 8), features(2 * k + 1, 8)) for k in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(400)
    assert min(values) < 0


def test_it_grows_with_the_shift_and_is_symmetric() -> None:
    x, y = features(9, 200), features(10, 200)
    distances = [kernel_distance(x, y + shift) for shift in (0.1, 0.3, 1, 3)]
    assert distances == sorted(distances)
    assert kernel_distance(y, x) == pytest.approx(kernel_distance(x, y), rel=1e-9)


def test_a_resample_makes_no_pair_of_a_row_with_itself() -> None:
    x, y = features(11, 10), features(12, 10)
    kernels = Kernels(x, y)
    drawn = [
        kernels.distance(r.integers(10, size=10), r.integers(10, size=10))
        for r in map(np.random.default_rng, range(2000))
    ]
    # With such pairs the mean would be above the estimate by about the kernel's own k(x, x) / N, some 0.7.
    assert np.mean(drawn) == pytest.approx(kernel_distance(x, y), abs=4 * np.std(drawn) / np.sqrt(2000))


def test_bad_input_is_refused() -> None:
    x = features(13, 5)
    with pytest.raises(IrgenError, match="at least 2 different images on each side, not 1"):
        kernel_distance(x, x[:1])
    with pytest.raises(IrgenError, match="subsets of 1000 images, but there are 5 real and 5 generated"):
        kid(x, x, np.random.default_rng(0))
    with pytest.raises(IrgenError, match="1 of 5 feature rows"):
        kernel_distance(x, np.where(np.arange(5)[:, None] == 2, np.nan, x))
