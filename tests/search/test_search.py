import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from irgen.errors import SettingsError
from irgen.search import Found, Prompt, Scores, nfe_per_image, noises, remake, search
from irgen.search.noises import Ascent, Perturbation, Recipe
from irgen.settings import FirstOrderSearch, HalvingSearch, PathsSearch, RandomSearch, ZeroOrderSearch
from tests.fakes import FakeDifferentiable, FakeGenerator, FakeVerifier

RANDOM = RandomSearch(candidates=6)
HALVING = HalvingSearch(schedule=((8, 1), (5, 3), (2, 4)))
PATHS = PathsSearch(paths=2, renoisings=3, length=3)
FIRST_ORDER = FirstOrderSearch(warm_start=2, iterations=3, gradient_steps=2)
SEARCHES = [
    RANDOM,
    ZeroOrderSearch(warm_start=2, neighbours=3, iterations=2),
    ZeroOrderSearch(warm_start=1, neighbours=1, iterations=4, cosine=0.9),
    HALVING,
    HalvingSearch(schedule=((5, 2), (1, 4))),
    PATHS,
    PathsSearch(paths=1, renoisings=1, length=1, sigma=0.4, forward=0.2, backward=0.3),
    FIRST_ORDER,
    FirstOrderSearch(warm_start=1, iterations=2, gradient_steps=4),
]


def prompts(count: int, first: int = 0) -> list[Prompt]:
    return [Prompt(first + index, f"An INFRARED photo of scene {index}", f"scene {index}") for index in range(count)]


def run(how, items, *, batch=4, generator=None, verifier=None, attempt=0) -> list[Found]:
    generator = generator or FakeDifferentiable()
    return search(generator, verifier or FakeVerifier(), items, how, seed=7, attempt=attempt, batch=batch)


def summary(found: Found):
    # As words: a NaN is no other NaN's equal.
    images = {number: image.tobytes() for number, image in found.images.items()}
    return found.prompt.index, repr(found.candidates), images, repr(found.unguided), found.previews


def spent(found: Found) -> int:
    return found.nfe + (found.unguided.nfe if found.unguided else 0)


@pytest.mark.parametrize("nfe_per_forward", [1, 2])
@pytest.mark.parametrize("how", SEARCHES)
def test_reported_nfe_are_the_forwards_made_and_the_budget(how, nfe_per_forward):
    generator = FakeDifferentiable(nfe_per_forward=nfe_per_forward)
    found = run(how, prompts(3), generator=generator)
    assert generator.nfe == sum(map(spent, found))
    budget = nfe_per_image(how, generator.steps, nfe_per_forward)
    if isinstance(how, FirstOrderSearch):
        assert all(budget / 2 < one.nfe <= budget for one in found)
    else:
        assert {one.nfe for one in found} == {budget}


@st.composite
def schedules(draw) -> tuple[HalvingSearch, int]:
    steps = sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=4)))
    counts = sorted(draw(st.sets(st.integers(1, 9), min_size=len(steps), max_size=len(steps))), reverse=True)
    return HalvingSearch(schedule=tuple(zip(counts, steps, strict=True))), steps[-1]


@given(schedules())
@hypothesis_settings(max_examples=30, deadline=None)
def test_any_keep_schedule_costs_what_its_stages_say(drawn):
    how, steps = drawn
    generator = FakeGenerator(steps=steps)
    [found] = run(how, prompts(1), generator=generator)
    expected = sum(
        count * (until - start)
        for (count, until), start in zip(how.schedule, [0, *(until for _, until in how.schedule)], strict=False)
    )
    assert found.nfe == nfe_per_image(how, steps) == expected
    assert generator.nfe == spent(found)
    finished = sum(one.is_image for one in found.candidates)
    assert finished == how.schedule[-1][0] and len(found.candidates) == how.schedule[0][0]


@given(
    st.integers(2, 30),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 5),
    st.floats(0.05, 0.5),
    st.floats(0.05, 0.45),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_paths_of_any_shape_spend_what_they_say_and_end_in_images(steps, count, copies, length, sigma, forward):
    how = PathsSearch(
        paths=count, renoisings=copies, length=length, sigma=sigma, forward=forward, backward=forward + 0.1
    )
    generator = FakeGenerator(steps=steps)
    [found] = run(how, prompts(1), generator=generator)
    assert found.nfe == nfe_per_image(how, steps) and generator.nfe == spent(found)
    assert found.kept and found.unguided


@pytest.mark.parametrize("how", SEARCHES)
@given(batch=st.integers(1, 30), order=st.permutations(range(4)))
@hypothesis_settings(max_examples=10, deadline=None)
def test_the_result_depends_neither_on_batch_size_nor_order_nor_company(how, batch, order):
    items = prompts(4)
    together = {one.prompt.index: summary(one) for one in run(how, items)}
    shuffled = run(how, [items[index] for index in order], batch=batch)
    assert {one.prompt.index: summary(one) for one in shuffled} == together
    assert summary(run(how, items[2:3])[0]) == together[2]


@pytest.mark.parametrize("how", SEARCHES)
def test_the_kept_candidate_has_the_highest_score_and_its_recipe_makes_its_image(how):
    for found in run(how, prompts(3)):
        kept = found.kept
        assert kept.score == max(one.score for one in found.candidates if one.is_image)
        recipe = Recipe.from_json(kept.recipe.to_json())
        again = remake(FakeDifferentiable(), FakeVerifier(), found.prompt, recipe)
        assert np.array_equal(again, found.images[kept.number])


@pytest.mark.parametrize("how", SEARCHES)
def test_no_latent_is_denoised_twice_and_each_text_is_encoded_once(how):
    generator = FakeDifferentiable()
    run(how, prompts(3), generator=generator)
    assert len(set(generator.rendered)) == len(generator.rendered)
    assert len(generator.encoded) == 3


@pytest.mark.parametrize("how", SEARCHES)
def test_the_unguided_image_is_random_searchs_first_and_costs_the_search_nothing(how):
    alone = run(RandomSearch(candidates=1), prompts(3))
    for found, first in zip(run(how, prompts(3)), alone, strict=True):
        assert np.array_equal(found.unguided.image, first.images[0])
        assert found.unguided.score == first.kept.score


@pytest.mark.parametrize("how", [HALVING, PATHS])
def test_candidates_that_were_cut_stay_in_the_record_and_are_no_images(how):
    for found in run(how, prompts(3)):
        cut = [one for one in found.candidates if one.step < 4]
        assert cut and not {one.number for one in cut} & set(found.images)
        for one in cut:
            assert math.isnan(one.score) and np.isfinite(one.preview) and not one.dead and not one.is_image
        assert {one.number for one in found.alive()}.isdisjoint({one.number for one in cut})


def test_halving_cuts_those_with_the_lowest_previews():
    [found] = run(HalvingSearch(schedule=((8, 2), (3, 4))), prompts(1))
    cut = [one.preview for one in found.candidates if not one.is_image]
    assert len(cut) == 5 and max(cut) <= min(one.preview for one in found.candidates if one.is_image)
    assert found.previews == 8


def test_halving_equals_best_of_n_where_previews_are_right_and_its_noises_are_the_same():
    [best] = run(RandomSearch(candidates=8), prompts(1))
    [found] = run(HALVING, prompts(1))
    assert found.kept.recipe == best.kept.recipe
    assert np.array_equal(found.images[found.kept.number], best.images[best.kept.number])


def test_a_candidate_that_dies_early_frees_no_place_for_a_cut_one_and_is_not_taken_on():
    class Picky(FakeVerifier):
        def score(self, images, captions):
            scores = super().score(images, captions)
            return replace(scores, value=np.where(scores.value > 0.5, np.nan, scores.value))

    generator = FakeGenerator()
    [found] = run(HalvingSearch(schedule=((10, 1), (8, 4))), prompts(1), generator=generator, verifier=Picky())
    dead = [one for one in found.candidates if one.dead]
    assert {one.dead for one in dead} == {"score not finite"}
    assert generator.nfe == spent(found) and found.nfe < nfe_per_image(HalvingSearch(schedule=((10, 1), (8, 4))), 4)
    assert all(one.nfe == 1 for one in dead if one.step == 1)


def test_more_candidates_leave_the_earlier_ones_as_they_were():
    few, many = (run(RandomSearch(candidates=n), prompts(1))[0].candidates for n in (3, 9))
    assert repr(many[:3]) == repr(few)


def test_zero_order_climbs_and_its_pivot_is_the_best_so_far():
    found = run(ZeroOrderSearch(warm_start=2, neighbours=8, iterations=4, cosine=0.7), prompts(1))[0]
    for start in range(2, len(found.candidates), 8):
        pivot = max(found.candidates[:start], key=lambda one: one.score)
        for one in found.candidates[start : start + 8]:
            assert one.recipe.seed == pivot.recipe.seed
            assert one.recipe.changes[:-1] == pivot.recipe.changes
            assert isinstance(one.recipe.changes[-1], Perturbation)
    assert found.kept.score > max(one.score for one in found.candidates[:2])


def test_paths_keep_the_best_previews_of_each_round():
    [found] = run(PathsSearch(paths=2, renoisings=4, length=1), prompts(1), generator=FakeGenerator(steps=28))
    children = [one for one in found.candidates if one.recipe.changes]
    assert len(children) == 8 and sum(one.is_image for one in children) == 2
    finished, cut = ([one.preview for one in children if one.is_image is done] for done in (True, False))
    assert min(finished) >= max(cut)


def test_first_order_goes_up_the_gradient_and_halves_the_rate_where_that_does_not_help():
    [found] = run(FirstOrderSearch(warm_start=1, iterations=4, rate=0.2), prompts(1))
    scores = [one.score for one in found.candidates]
    assert scores == sorted(scores) and scores[-1] > scores[0]
    [found] = run(FirstOrderSearch(warm_start=1, iterations=3, rate=1e9), prompts(1), generator=Contrary())
    rates = [one.recipe.changes[-1].rate for one in found.candidates[1:]]
    assert rates == [1e9, 0.5e9, 0.25e9] and found.kept.number == 0
    assert all(isinstance(one.recipe.changes[0], Ascent) for one in found.candidates[1:])


class Contrary(FakeDifferentiable):
    """Its gradient leads down, and costs once only."""

    def pixels(self, latents, conditions, from_step):
        return 1 - super().pixels(latents, conditions, from_step)


def test_first_order_with_a_gradient_that_is_not_finite_keeps_the_best_so_far():
    class Broken(FakeDifferentiable):
        def pixels(self, latents, conditions, from_step):
            return super().pixels(latents, conditions, from_step) * float("nan")

    [found] = run(FIRST_ORDER, prompts(1), generator=Broken())
    assert len(found.candidates) == FIRST_ORDER.warm_start and found.kept


def test_first_order_without_gradients_says_who_lacks_them():
    with pytest.raises(SettingsError, match="FakeGenerator does not give"):
        run(FIRST_ORDER, prompts(1), generator=FakeGenerator())


def test_images_are_held_only_for_first_best_and_worst():
    found = run(RandomSearch(candidates=10), prompts(1))[0]
    assert set(found.images) == {0, found.kept.number, found.worst.number}


@pytest.mark.parametrize("how", SEARCHES)
def test_nan_scores_kill_all_candidates_with_the_reason(how):
    found = run(how, prompts(1), verifier=FakeVerifier(score_is_nan=True))[0]
    assert found.kept is None and found.worst is None and found.unguided is None
    assert {one.dead for one in found.candidates} == {"score not finite"}
    assert all(math.isnan(one.score) for one in found.candidates)


def test_a_verifiers_own_reason_stands_in_the_record():
    class Silent(FakeVerifier):
        def score(self, images, captions):
            value = np.full(len(images), np.nan)
            return Scores(value, {}, ("the endpoint did not answer",) * len(images))

    [found] = run(RANDOM, prompts(1), verifier=Silent())
    assert {one.dead for one in found.candidates} == {"the endpoint did not answer"}


@pytest.mark.parametrize("how", [RANDOM, HALVING, PATHS])
@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "latents not finite"), (0.0, "flat image")])
def test_broken_latents_and_flat_images_are_dead_while_their_neighbours_live(how, value, reason):
    class Breaking(FakeGenerator):
        def denoise(self, latents, conditions, from_step, to_step):
            done = super().denoise(latents, conditions, from_step, to_step)
            for row, text in enumerate(conditions.texts):
                if text.endswith("scene 1"):
                    done.latents[row] = value
            return done

    broken, whole = run(how, prompts(2)[::-1], generator=Breaking())
    assert {one.dead for one in broken.candidates} - {""} == {reason} and broken.kept is None
    assert whole.kept is not None


def levels(of: int, low: int, high: int) -> np.ndarray:
    """An image, uint8 [10, 10, 3], of which so many per cent are low and high in turn, the rest gray."""
    found = np.full(300, 128, np.uint8)
    found[: 3 * of : 2], found[1 : 3 * of : 2] = low, high
    return found.reshape(10, 10, 3)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (levels(98, 0, 255), "saturated image"),
        (levels(97, 0, 255), ""),
        (levels(100, 1, 254), ""),
        (levels(100, 127, 128), "flat image"),
        (levels(100, 127, 129), ""),
    ],
)
def test_an_image_that_shows_nothing_is_dead_and_a_faint_one_is_not(image, reason):
    class Showing(FakeGenerator):
        def decode(self, latents):
            return np.repeat(image[None], len(latents), axis=0)

    [found] = run(RANDOM, prompts(1), generator=Showing())
    assert {one.dead for one in found.candidates} == {reason}


def test_another_attempt_draws_other_noises():
    first, second = (run(RandomSearch(candidates=2), prompts(1), attempt=n)[0] for n in (0, 1))
    assert {one.recipe for one in first.candidates}.isdisjoint({one.recipe for one in second.candidates})


def test_a_perturbed_noise_is_made_by_its_recipe():
    [found] = run(ZeroOrderSearch(warm_start=1, neighbours=2, iterations=2), prompts(1))
    for one in found.candidates:
        noise = torch.from_numpy(noises.make(one.recipe, (3, 4, 5)))
        image = FakeGenerator().decode(FakeGenerator().denoise(noise[None], found_conditions(), 0, 4).latents)[0]
        assert one.score == image.astype(np.float64).mean() / 255


def found_conditions():
    return FakeGenerator().encode(["scene"])
