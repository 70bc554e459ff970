"""The algorithms on a tiny FLUX under a tiny IRSCORE: what the fakes cannot tell about real forwards and gradients."""

from typing import Any

import numpy as np
import pytest
import torch

from irgen import generators
from irgen.generators import Engine
from irgen.search import Prompt, Recipe, nfe_per_image, noises, remake, search
from irgen.search.first_order import Slope
from irgen.settings import BaseSettings, FirstOrderSearch, HalvingSearch, PathsSearch, ZeroOrderSearch
from irgen.verifiers import IrScore
from irgen.verifiers import clip as clip_module
from tests.tiny_clip import tiny_clip
from tests.tiny_flux import HEIGHT_PX, T5_TOKENS, WIDTH_PX, tiny_flux

STEPS, BATCH = 5, 3
SEARCHES = [
    ZeroOrderSearch(warm_start=2, neighbours=2, iterations=1),
    PathsSearch(paths=1, renoisings=2, length=2),
    HalvingSearch(schedule=((4, 2), (2, 4), (1, 5))),
    FirstOrderSearch(warm_start=2, iterations=2, gradient_steps=2),
    FirstOrderSearch(warm_start=1, iterations=1, gradient_steps=5),
]
PROMPTS = [
    Prompt(index, f"An INFRARED photo of {caption}", caption)
    for index, caption in enumerate(("one person on a road", "two people on a road", "three people on a road"))
]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    base = BaseSettings(
        model=str(tiny_flux(tmp_path_factory.mktemp("flux"))),
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        max_sequence_length=T5_TOKENS,
        precision="fp32",
    )
    return generators.load(base, STEPS, 3.5, BATCH, None)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> IrScore:
    folder = tiny_clip(tmp_path_factory.mktemp("clip"))
    return IrScore(clip_module.load(f"local-dir:{folder}", "", torch.device("cpu"), torch.float32), 0.5)


def found(how: Any, generator: Engine, judge: IrScore, prompts: list[Prompt], batch: int = BATCH) -> Any:
    return search(generator, judge, prompts, how, seed=3, attempt=0, batch=batch)


@pytest.mark.parametrize("how", SEARCHES, ids=lambda one: one.algorithm)
def test_images_are_independent_of_company_counted_and_made_again_by_their_recipes(
    how: Any, generator: Engine, judge: IrScore
) -> None:
    before = generator.nfe
    together = found(how, generator, judge, PROMPTS)
    assert generator.nfe - before == sum(one.nfe + one.unguided.nfe for one in together)
    assert all(one.nfe <= nfe_per_image(how, STEPS) for one in together)
    [alone] = found(how, generator, judge, PROMPTS[1:2], batch=1)
    assert repr(alone.candidates) == repr(together[1].candidates)
    for one in together:
        image = one.images[one.kept.number]
        recipe = Recipe.from_json(one.kept.recipe.to_json())
        assert np.array_equal(remake(generator, judge, one.prompt, recipe), image)


def test_the_gradient_through_all_steps_is_the_slope_of_the_score(generator: Engine, judge: IrScore) -> None:
    noise = torch.from_numpy(noises.draw("0" * 32, generator.latent_shape))
    conditions = generator.encode([PROMPTS[0].text])
    gradient = torch.from_numpy(Slope(generator, judge, STEPS).at(noise, conditions, PROMPTS[0].caption))
    step = 0.05 * gradient / gradient.norm()
    with torch.no_grad():
        up, down = (
            judge.score_pixels(generator.pixels((noise + sign * step)[None], conditions, 0), [PROMPTS[0].caption])
            for sign in (1, -1)
        )
    assert ((up - down) / 0.1).item() == pytest.approx(gradient.norm().item(), rel=0.1)


def test_the_score_of_pixels_is_that_of_the_image(generator: Engine, judge: IrScore) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255
    score = judge.score_pixels(pixels, [PROMPTS[0].caption]).item()
    assert score == pytest.approx(judge.score(image, [PROMPTS[0].caption]).value.item(), abs=1e-6)
