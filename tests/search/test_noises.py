import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen import seeds
from irgen.search import noises
from irgen.search.noises import Recipe

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
    pivot = draw("pivot")
    near = noises.neighbour(pivot, draw("direction"), cosine)
    length = np.linalg.norm(pivot)
    assert np.linalg.norm(near) == pytest.approx(length, rel=1e-5)
    assert np.sum(pivot * near) / length**2 == pytest.approx(cosine, abs=1e-5)


@given(st.lists(st.floats(0, 0.99), max_size=3), st.integers(0, 2**31))
def test_a_recipe_survives_json_and_makes_the_same_noise(cosines, seed):
    recipe = Recipe(seeds.derive(seed, 0, "noise"))
    for number, cosine in enumerate(cosines):
        recipe = recipe.perturbed(seeds.derive(seed, number, "neighbour"), cosine)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert np.array_equal(noises.make(again, SHAPE), noises.make(recipe, SHAPE))
