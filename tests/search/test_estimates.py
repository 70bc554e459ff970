"""What schedules are expected to find, against closed forms and enumeration."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen.search import estimates
from irgen.search.halving import halving_nfe


def test_the_expected_best_is_the_mean_over_all_subsets():
    values = np.random.default_rng(3).standard_normal((3, 7))
    expected = [[np.mean([max(some) for some in combinations(row, n)]) for n in range(1, 8)] for row in values]
    assert np.allclose(estimates.expected_best(values), expected)


def test_the_expected_best_of_a_permutation_is_that_of_uniform_order_statistics():
    # Without replacement from 1 .. S the maximum of n is n (S + 1) / (n + 1) on average.
    n = np.arange(1, 41)
    assert np.allclose(estimates.expected_best(np.arange(1.0, 41)[None])[0], n * 41 / (n + 1))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4))
def test_the_cost_is_what_the_search_itself_spends(pairs):
    counts = sorted({count for count, _ in pairs}, reverse=True)
    steps = sorted({step for _, step in pairs})
    stages = tuple(zip(counts, steps, strict=False))
    assert estimates.cost(stages) == halving_nfe(stages)


def test_perfect_previews_keep_the_best_of_all_that_were_begun():
    z = estimates.standardised(np.repeat(np.random.default_rng(3).standard_normal((4, 30, 1)), 6, axis=2), seed=0)
    begun = estimates.expected_best(z[:, :, -1])[:, 19]
    found = estimates.scores(z, ((20, 2), (6, 4), (1, 6)), seed=0)
    assert np.allclose(found, begun, atol=0.1) and not np.allclose(found, z[:, :, -1].max(axis=1), atol=0.1)


def test_a_search_of_all_seeds_keeps_the_one_that_its_previews_say():
    rewards = np.array([[[4, 1, 0.1], [3, 9, 0.2], [2, 8, 0.3], [1, 7, 0.9]]], float)
    z = estimates.standardised(rewards, seed=0)
    kept = (0.2 - rewards[0, :, -1].mean()) / rewards[0, :, -1].std()
    assert estimates.scores(z, ((4, 1), (3, 2), (1, 3)), seed=0) == pytest.approx([kept])


def test_a_cut_keeps_exactly_its_number_where_all_previews_are_equal():
    rewards = np.zeros((200, 8, 2))
    rewards[:, :, 1] = np.arange(8)
    z = estimates.standardised(rewards, seed=0)
    found = estimates.scores(z, ((8, 1), (2, 2)), seed=0).mean()
    assert found == pytest.approx(estimates.expected_best(z[:1, :, -1])[0, 1], abs=0.1)


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_preview_is_never_from_later_on_the_way_and_never_the_finished_image(total, steps):
    for until in range(1, steps):
        column = estimates.column(until, total, steps)
        assert column < total - 1 and (column + 1) / total <= until / steps
    assert estimates.column(steps, total, steps) == total - 1


def test_a_thinned_schedule_still_narrows():
    assert estimates.thinned(((18, 14), (8, 21), (4, 28)), 0.5) == ((9, 14), (4, 21), (2, 28))
    assert estimates.thinned(((18, 14), (8, 21), (4, 28)), 0.1) == ((2, 14), (1, 28))
    assert estimates.thinned(((18, 14), (8, 21), (4, 28)), 0.01) == ((1, 28),)
