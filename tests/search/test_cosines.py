"""How far zero-order search looks."""

import numpy as np
import pytest

from irgen.search import Prompt, cosines
from irgen.settings import ZeroOrderSearch
from tests.fakes import FakeGenerator, FakeVerifier

PROMPTS = [Prompt(index, f"scene {index}", f"scene {index}") for index in range(6)]
SEARCH = ZeroOrderSearch(warm_start=2, neighbours=3, iterations=2, cosine=None)


def scores(**gains):
    """Scores of 20 prompts that differ by much from prompt to prompt, and by little from cosine to cosine."""
    rng = np.random.default_rng(0)
    table = np.tile(rng.normal(size=20), (len(cosines.COSINES), 1)) + rng.normal(size=(5, 20)) * 1e-3
    for name, gain in gains.items():
        table[cosines.COSINES.index(float(name[1:]) / 100)] += gain
    return table


def test_what_is_tried_depends_on_no_batch_and_costs_five_searches():
    generator = FakeGenerator()
    tried = cosines.try_cosines(generator, FakeVerifier(), PROMPTS, SEARCH, seed=1, batch=4)
    assert tried.shape == (5, 6) and generator.nfe == 5 * 6 * (2 + 3 * 2) * 4
    again = cosines.try_cosines(FakeGenerator(), FakeVerifier(), PROMPTS, SEARCH, seed=1, batch=99)
    assert np.array_equal(tried, again)
    assert len(np.unique(tried, axis=0)) > 1


def test_a_cosine_that_is_surely_better_is_chosen():
    assert cosines.choose(scores(_85=0.01)) == 0.85
    assert cosines.choose(scores(_30=0.01, _95=0.02)) == 0.95


def test_a_cosine_that_may_be_better_by_luck_is_not():
    table = scores()
    table[0, 0] += 5  # one prompt alone
    assert cosines.choose(table) == cosines.USUAL


@pytest.mark.parametrize("alive", [0, 1])
def test_where_too_few_prompts_live_it_is_the_usual_one(alive):
    table = scores(_30=1)
    table[2, alive:] = np.nan
    assert cosines.choose(table) == cosines.USUAL


def test_prompts_whose_candidates_died_do_not_count():
    table = scores(_30=0.01)
    table[4, :3] = np.nan
    assert cosines.choose(table) == 0.3
