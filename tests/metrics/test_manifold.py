import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from irgen.errors import IrgenError
from irgen.metrics.manifold import Neighbourhoods, manifold, squared


def features(seed: int, count: int, dimensions: int = 6, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


def by_definition(real: np.ndarray, fake: np.ndarray) -> tuple[float, float, float, float]:
    """Both papers' equations, image by image."""

    def radius(rows: np.ndarray, row: int, k: int) -> float:
        return sorted(np.linalg.norm(rows[row] - other) for n, other in enumerate(rows) if n != row)[k - 1]

    def in_ball(point: np.ndarray, rows: np.ndarray, row: int, k: int) -> bool:
        return bool(np.linalg.norm(point - rows[row]) <= radius(rows, row, k))

    precision = np.mean([any(in_ball(g, real, n, 3) for n in range(len(real))) for g in fake])
    recall = np.mean([any(in_ball(r, fake, n, 3) for n in range(len(fake))) for r in real])
    density = np.mean([sum(in_ball(g, real, n, 5) for n in range(len(real))) / 5 for g in fake])
    coverage = np.mean([any(in_ball(g, real, n, 5) for g in fake) for n in range(len(real))])
    return float(precision), float(recall), float(density), float(coverage)


@settings(max_examples=15, deadline=None)
@given(st.integers(6, 14), st.integers(6, 14), st.floats(0, 2), st.integers(0, 2**31))
def test_the_figures_are_the_papers(n: int, m: int, shift: float, seed: int) -> None:
    real, fake = features(seed, n, 3), features(seed + 1, m, 3, shift)
    assert manifold(real, fake) == pytest.approx(by_definition(real, fake))


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_precision_and_recall_are_torch_fidelitys(shift: float) -> None:
    real, fake = features(1, 150), features(2, 120, shift=shift)
    theirs = prc_features_to_metric(torch.from_numpy(fake), torch.from_numpy(real), verbose=False)
    ours = manifold(real, fake)
    assert ours.precision == pytest.approx(theirs[KEY_METRIC_PRECISION], abs=1e-6)
    assert ours.recall == pytest.approx(theirs[KEY_METRIC_RECALL], abs=1e-6)


def test_a_set_is_its_own_manifold() -> None:
    x = features(3, 40)
    ours = manifold(x, x)
    assert (ours.precision, ours.recall, ours.coverage) == (1, 1, 1)


def test_equal_distributions_have_a_density_about_one() -> None:
    assert manifold(features(4, 600), features(5, 600)).density == pytest.approx(1, abs=0.1)


def test_a_collapsed_set_is_precise_but_recalls_little() -> None:
    real = np.concatenate([features(6, 100), features(7, 100, shift=8)])
    one_mode = manifold(real, features(8, 200))
    assert one_mode.precision > 0.8 and one_mode.recall < 0.5 and one_mode.coverage < 0.55


def test_a_set_far_away_has_none_of_all() -> None:
    assert manifold(features(9, 30), features(10, 30, shift=50)) == (0, 0, 0, 0)


def test_features_far_from_zero_lose_nothing() -> None:
    real, fake = features(11, 60), features(12, 60, shift=0.5)
    assert manifold(real + 1e5, fake + 1e5) == pytest.approx(manifold(real, fake))


def test_drawing_every_row_twice_changes_nothing() -> None:
    real, fake = features(13, 40), features(14, 40, shift=0.7)
    twice = np.repeat(np.arange(40), 2)
    assert Neighbourhoods(real, fake).manifold(twice, twice) == pytest.approx(manifold(real, fake))


def test_a_row_drawn_three_times_counts_three_times() -> None:
    real, fake = features(13, 40), features(14, 20, shift=0.7)
    drawn = np.array([0, 0, 0, *range(1, 20)])
    prepared = Neighbourhoods(real, fake)
    whole, first = manifold(real, fake).precision * 20, manifold(real, np.r_[fake, fake[:1]]).precision * 21
    assert prepared.manifold(np.arange(40), drawn).precision * 22 == pytest.approx(whole + 2 * (first - whole))


def test_too_few_images_for_a_ball_are_named() -> None:
    with pytest.raises(IrgenError, match="5 different images, but a ball reaches to the 5-th neighbour"):
        manifold(features(15, 5), features(16, 20))
    with pytest.raises(IrgenError, match="1 of 20 feature rows"):
        manifold(features(15, 20), np.pad(features(16, 19), ((0, 1), (0, 0)), constant_values=np.nan))


def test_short_distances_are_told_far_from_zero_too() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1e3, 0.1, (20, 5)), rng.normal(1e3, 0.1, (30, 5))
    np.testing.assert_allclose(squared(x, y), ((x[:, None] - y[None]) ** 2).sum(axis=2), atol=1e-10)
    assert (squared(x, x) >= 0).all() and np.diag(squared(x, x)).max() < 1e-10
