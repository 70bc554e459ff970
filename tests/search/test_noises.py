import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen import seeds
from irgen.search import noises
from irgen.search.noises import Ascent, Perturbation, Recipe, Renoising

SHAPE = (4, 6, 7)


def draw(seed: str) -> np.ndarray:
    return noises.make(Recipe(seeds.derive(0, seed, "noise")), SHAPE)


def test_noise_is_standard_normal_and_differs_between_seeds():
    one = noises.make(Recipe(seeds.derive(0, 1, "noise")), (16, 64, 64))
    assert one.dtype == np.float32
    assert abs(one.mean()) < 0.02 and abs(one.std() - 1) < 0.02
    assert not np.array_equal(draw("a"), draw("b"))


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.7, 0.95])
def test_neighbour_keeps_the_length_and_stands_at_the_given_cosine(cosine):
    pivot, direction = draw("pivot"), draw("direction")
    near = noises.neighbour(pivot, direction, cosine)
    length = np.linalg.norm(pivot)
    assert np.linalg.norm(near) == pytest.approx(length, rel=1e-5)
    assert np.sum(pivot * near) / length**2 == pytest.approx(cosine, abs=1e-5)
    aside = direction - np.sum(direction * pivot) / length**2 * pivot
    assert np.sum(near * aside) / np.linalg.norm(aside) == pytest.approx(length * np.sqrt(1 - cosine**2), rel=1e-5)


CHANGES = st.one_of(
    st.builds(Perturbation, st.text("0123456789abcdef", min_size=32, max_size=32), st.floats(0, 0.99)),
    st.builds(Ascent, st.floats(0, 9), st.integers(1, 28)),
    st.builds(Renoising, st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(1, 28), st.integers(0, 27)),
)


@given(st.lists(CHANGES, max_size=3), st.integers(0, 2**31))
def test_a_recipe_survives_json(changes, seed):
    recipe = Recipe(seeds.derive(seed, 0, "noise"), tuple(changes))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_perturbations_are_made_in_their_order():
    steps = [Perturbation(seeds.derive(0, name, "neighbour"), cosine) for name, cosine in (("a", 0.5), ("b", 0.9))]
    start = Recipe(seeds.derive(0, "pivot", "noise"))
    made = noises.make(start.changed(steps[0]).changed(steps[1]), SHAPE)
    near = noises.neighbour(draw("pivot"), noises.draw(steps[0].seed, SHAPE), 0.5)
    assert np.array_equal(made, noises.neighbour(near, noises.draw(steps[1].seed, SHAPE), 0.9))


@pytest.mark.parametrize("rate", [0.01, 0.3, 5.0])
def test_an_ascent_keeps_the_length_and_turns_towards_the_gradient(rate):
    noise, gradient = draw("pivot"), draw("gradient")
    up = noises.ascended(noise, 7 * gradient, rate)
    assert np.linalg.norm(up) == pytest.approx(np.linalg.norm(noise), rel=1e-5)
    assert np.sum(up * gradient) > np.sum(noise * gradient)
    turned = np.linalg.norm(up - noise) / np.linalg.norm(noise)
    assert turned == pytest.approx(rate, rel=0.05) if rate < 0.1 else turned < rate
