"""The benchmark's replay of keep rules on recorded candidates, against the searches themselves."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from irgen.search import Prompt, halving, random
from irgen.settings import HalvingSearch, RandomSearch
from tests.fakes import FakeGenerator, FakeVerifier

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROMPTS = [Prompt(index, f"scene {index}", f"scene {index}") for index in range(6)]


@pytest.fixture(scope="module")
def bank():
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("candidate_bank")
    sys.path.remove(str(BENCHMARKS))


class Bent(FakeGenerator):
    """Previews that mislead a little, as real ones do: one channel of the clean estimate is turned around."""

    def denoise(self, latents, conditions, from_step, to_step):
        reached = super().denoise(latents, conditions, from_step, to_step)
        if to_step == self.steps:
            return reached
        tilted = reached.clean.clone()
        tilted[:, 0] *= -0.4 * (self.steps - to_step)
        return type(reached)(reached.latents, tilted)


def test_a_replayed_schedule_keeps_what_the_search_keeps_and_counts_what_it_spends(bank):
    recorded = bank.record(Bent(), {"irscore": FakeVerifier()}, PROMPTS, 9, 3, (1, 2), {})
    kept = {}
    for schedule in (((9, 1), (5, 2), (2, 4)), ((8, 2), (3, 4)), ((9, 4),)):
        chosen, forwards = bank.halved(recorded["irscore"], (1, 2, 4), schedule)
        settings = HalvingSearch(schedule=schedule)
        found = halving(Bent(), FakeVerifier(), PROMPTS, settings, seed=3, attempt=0, batch=5)
        assert [one.kept.number for one in found] == chosen.tolist()
        assert {one.nfe for one in found} == {forwards}
        for row, one in enumerate(found):
            assert np.array_equal(one.images[one.kept.number][..., 0], recorded["image"][row, chosen[row]])
        kept[schedule] = chosen.tolist()
    # Else the previews would not mislead, and any order of cutting would do.
    assert len({tuple(one) for one in kept.values()}) > 1


def test_the_recorded_candidates_are_those_of_random_search(bank):
    recorded = bank.record(FakeGenerator(), {"irscore": FakeVerifier()}, PROMPTS, 4, 7, (2,), {})
    found = random(FakeGenerator(), FakeVerifier(), PROMPTS, RandomSearch(candidates=4), seed=7, attempt=0, batch=3)
    scores = np.array([[one.score for one in each.candidates] for each in found])
    assert np.array_equal(recorded["irscore"][..., -1], scores)


def test_the_dead_are_cut_first(bank):
    previews = np.array([[[0.1, 0.4], [np.nan, np.nan], [0.3, 0.2]]])
    chosen, forwards = bank.halved(previews, (1, 2), ((3, 1), (2, 2)))
    assert chosen.tolist() == [0] and forwards == 5
