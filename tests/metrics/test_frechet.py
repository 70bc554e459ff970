import numpy as np
import pytest
from cleanfid.fid import frechet_distance as cleanfid_distance
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.errors import IrgenError
from irgen.metrics.frechet import Distances, Statistics, frechet_distance, frechet_distances


def features(seed: int, count: int, dimensions: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    return rng.normal(size=(count, dimensions)) @ mix + shift


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distance(Statistics.of(x), Statistics.of(y))


def paired(x: np.ndarray, y: np.ndarray) -> float:
    return frechet_distances(x, {"y": y})["y"]


def exact(mean: list[float], covariance: np.ndarray, count: int = 11) -> Statistics:
    return Statistics(count, np.array(mean, float), covariance * (count - 1))


@pytest.mark.parametrize(("count", "dimensions"), [(200, 16), (400, 64)])
def test_equals_cleanfid_on_the_same_features(count: int, dimensions: int) -> None:
    x, y = features(1, count, dimensions), features(2, count, dimensions, 0.3)
    theirs = cleanfid_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))
    assert distance(x, y) == pytest.approx(theirs, rel=1e-4)
    assert theirs > 1


def test_gaussians_that_differ_in_mean_alone_are_the_squared_shift_apart() -> None:
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    assert frechet_distance(exact([0, 0], covariance), exact([3, 4], covariance)) == pytest.approx(25)


def test_gaussians_with_diagonal_covariances_have_the_closed_form() -> None:
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 0.25])
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(exact([0, 0, 0], np.diag(a)), exact([0, 0, 0], np.diag(b))) == pytest.approx(expected)


def test_covariances_that_do_not_commute_have_the_closed_form_of_two_dimensions() -> None:
    # In two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), and M is similar to S1 S2.
    one, two = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    product = one @ two
    overlap = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(one) + np.trace(two) - 2 * overlap
    assert frechet_distance(exact([0, 0], one), exact([0, 0], two)) == pytest.approx(expected)


@pytest.mark.parametrize("spare", [0, 3])
def test_dependent_features_add_to_a_distance_only_what_they_say_again(spare: int) -> None:
    # A feature said twice, divided by sqrt(2), is the same feature turned; features of zeros are none.
    x, y = features(14, 60, 4), features(15, 60, 4, 0.5)
    doubled = [np.pad(np.concatenate([each, each], axis=1) / np.sqrt(2), ((0, 0), (0, spare))) for each in (x, y)]
    assert distance(*doubled) == pytest.approx(distance(x, y), rel=1e-6)


def test_a_set_is_at_no_distance_from_itself() -> None:
    x = features(3, 100, 32)
    assert distance(x, x) == pytest.approx(0, abs=1e-9)
    assert paired(x[:20], x[:20]) == pytest.approx(0, abs=1e-7 * np.var(x[:20], axis=0).sum())


def test_it_does_not_matter_which_set_is_called_real() -> None:
    x, y = features(4, 90, 24), features(5, 70, 24, 0.1)
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-9)


def test_several_sets_are_measured_as_each_would_be_alone() -> None:
    x, y, z = features(4, 90, 24), features(5, 70, 24, 0.1), features(6, 90, 24, 0.4)
    assert frechet_distances(x, {"y": y, "z": z}) == pytest.approx({"y": distance(x, y), "z": distance(x, z)}, rel=1e-9)


def test_it_grows_with_the_shift() -> None:
    x = features(6, 100, 8)
    distances = [distance(x, x + shift) for shift in (0, 0.1, 0.5, 2)]
    assert distances == sorted(distances)
    assert distances[-1] == pytest.approx(2**2 * 8)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (12, 30), (2, 2)])
def test_fewer_images_than_dimensions_give_what_the_covariances_give(n: int, m: int) -> None:
    x, y = features(7, n, 48), features(8, m, 48, 0.2)
    assert paired(x, y) == pytest.approx(distance(x, y), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 30), st.integers(0, 2**31))
def test_a_resample_is_at_the_distance_that_its_rows_are(n: int, m: int, dimensions: int, seed: int) -> None:
    x, y = features(seed, n, dimensions) + 5, features(seed + 1, m, dimensions, 3)
    rng = np.random.default_rng(seed)
    rows, drawn = rng.integers(n, size=n), rng.integers(m, size=m)
    taken = distance(x[rows], y[drawn])
    assert Distances(x, {"y": y}).at(rows, {"y": drawn})["y"] == pytest.approx(taken, rel=1e-6, abs=1e-6)


def test_one_preparation_serves_many_resamples() -> None:
    x, y = features(12, 30, 50), features(13, 30, 50, 0.2)
    prepared = Distances(x, {"y": y})
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows, drawn = rng.integers(30, size=30), rng.integers(30, size=30)
        assert prepared.at(rows, {"y": drawn})["y"] == pytest.approx(distance(x[rows], y[drawn]), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=4), st.integers(0, 2**31))
def test_statistics_do_not_depend_on_the_batches(cuts: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).normal(100, 1, (61, 5))
    gathered = Statistics.gather(np.split(x, sorted({*cuts})))
    np.testing.assert_allclose(gathered.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(gathered.covariance, np.cov(x, rowvar=False), rtol=1e-7, atol=1e-10)


def test_fp32_features_far_from_zero_lose_nothing() -> None:
    x = (features(9, 500, 16) + 1000).astype(np.float32)
    reference = np.cov(x.astype(np.float64), rowvar=False)
    gathered = Statistics.gather(np.array_split(x, 7))
    np.testing.assert_allclose(gathered.covariance, reference, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dimensions", [1, 8])
def test_one_image_is_refused(dimensions: int) -> None:
    x = features(10, 5, dimensions)
    with pytest.raises(IrgenError, match="at least 2 images on each side, not 1"):
        paired(x, x[:1])
    with pytest.raises(IrgenError, match="not 0"):
        paired(x[:0], x)
    with pytest.raises(IrgenError, match="not 0"):
        Statistics.gather([])
    with pytest.raises(IrgenError, match="not 0"):
        Statistics.of(x[:0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_and_counted(bad: float) -> None:
    x = features(11, 6, 3)
    x[2, 1] = x[4, 0] = bad
    with pytest.raises(IrgenError, match="2 of 6 feature rows are not finite"):
        Statistics.of(x)
    with pytest.raises(IrgenError, match="2 of 6 feature rows"):
        paired(np.pad(x, ((0, 0), (0, 9))), np.zeros((6, 12)))
