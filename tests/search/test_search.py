import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.search import Found, Prompt, nfe_per_image, noises, search
from irgen.settings import RandomSearch, ZeroOrderSearch
from tests.fakes import FakeGenerator, FakeVerifier

SEARCHES = [
    RandomSearch(candidates=6),
    ZeroOrderSearch(warm_start=2, neighbours=3, iterations=2),
    ZeroOrderSearch(warm_start=1, neighbours=1, iterations=4, cosine=0.9),
]


def prompts(count: int, first: int = 0) -> list[Prompt]:
    return [Prompt(first + index, f"An INFRARED photo of scene {index}", f"scene {index}") for index in range(count)]


def run(how, items, *, batch=4, generator=None, verifier=None, attempt=0) -> list[Found]:
    generator = generator or FakeGenerator()
    return search(generator, verifier or FakeVerifier(), items, how, seed=7, attempt=attempt, batch=batch)


def summary(found: Found):
    return found.prompt.index, found.candidates, {number: image.tobytes() for number, image in found.images.items()}


@pytest.mark.parametrize("how", SEARCHES)
def test_reported_nfe_are_the_forwards_made_and_the_budget(how):
    generator = FakeGenerator()
    found = run(how, prompts(3), generator=generator)
    assert generator.nfe == sum(one.nfe for one in found) == 3 * nfe_per_image(how, generator.steps)


@pytest.mark.parametrize("how", SEARCHES)
@given(batch=st.integers(1, 30), order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None)
def test_the_result_depends_neither_on_batch_size_nor_order_nor_company(how, batch, order):
    items = prompts(4)
    together = {one.prompt.index: summary(one) for one in run(how, items)}
    shuffled = run(how, [items[index] for index in order], batch=batch)
    assert {one.prompt.index: summary(one) for one in shuffled} == together
    assert summary(run(how, items[2:3])[0]) == together[2]


@pytest.mark.parametrize("how", SEARCHES)
def test_the_kept_candidate_has_the_highest_score_and_its_recipe_makes_its_image(how):
    generator = FakeGenerator()
    for found in run(how, prompts(3), generator=generator):
        kept = found.kept
        assert kept.score == max(one.score for one in found.candidates)
        noise = noises.make(kept.recipe, generator.latent_shape)
        latents = noise * np.float32(0.9**generator.steps)
        image = np.round(255 / (1 + np.exp(-latents.transpose(1, 2, 0)))).astype(np.uint8)
        assert np.abs(image.astype(int) - found.images[kept.number]).max() <= 1


@pytest.mark.parametrize("how", SEARCHES)
def test_no_noise_is_rendered_twice_and_each_text_is_encoded_once(how):
    generator = FakeGenerator()
    run(how, prompts(3), generator=generator)
    assert len(set(generator.rendered)) == len(generator.rendered)
    assert len(generator.encoded) == 3


def test_more_candidates_leave_the_earlier_ones_as_they_were():
    few, many = (run(RandomSearch(candidates=n), prompts(1))[0].candidates for n in (3, 9))
    assert many[:3] == few


def test_zero_order_climbs_and_its_pivot_is_the_best_so_far():
    found = run(ZeroOrderSearch(warm_start=2, neighbours=8, iterations=4, cosine=0.7), prompts(1))[0]
    for start in range(2, len(found.candidates), 8):
        pivot = max(found.candidates[:start], key=lambda one: one.score)
        for one in found.candidates[start : start + 8]:
            assert one.recipe.seed == pivot.recipe.seed
            assert one.recipe.perturbations[:-1] == pivot.recipe.perturbations
    assert found.kept.score > max(one.score for one in found.candidates[:2])


def test_images_are_held_only_for_first_best_and_worst():
    found = run(RandomSearch(candidates=10), prompts(1))[0]
    assert set(found.images) == {0, found.kept.number, found.worst.number}


def test_a_nan_score_kills_the_candidate_with_the_reason():
    found = run(RandomSearch(candidates=3), prompts(1), verifier=FakeVerifier(score_is_nan=True))[0]
    assert found.kept is None and found.worst is None
    assert {one.dead for one in found.candidates} == {"score not finite"}
    assert all(math.isnan(one.score) for one in found.candidates)


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "latents not finite"), (0.0, "flat image")])
def test_broken_latents_and_flat_images_are_dead_while_their_neighbours_live(value, reason):
    class Breaking(FakeGenerator):
        def denoise(self, latents, conditions, from_step, to_step):
            done = super().denoise(latents, conditions, from_step, to_step)
            for row, text in enumerate(conditions.texts):
                if text.endswith("scene 1"):
                    done.latents[row] = value
            return done

    broken, whole = run(RandomSearch(candidates=2), prompts(2)[::-1], generator=Breaking())
    assert {one.dead for one in broken.candidates} == {reason}
    assert whole.kept is not None


def test_another_attempt_draws_other_noises():
    first, second = (run(RandomSearch(candidates=2), prompts(1), attempt=n)[0] for n in (0, 1))
    assert {one.recipe for one in first.candidates}.isdisjoint({one.recipe for one in second.candidates})
