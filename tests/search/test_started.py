import numpy as np
import pytest
import torch

from irgen.search import Prompt, random
from irgen.search.started import Started
from irgen.settings import RandomSearch
from tests.fakes import FakeGenerator, FakeVerifier

PROMPTS = [Prompt(index, f"text {index}", f"caption {index}") for index in range(3)]


def images(count: int = 3) -> torch.Tensor:
    shape = FakeGenerator().latent_shape
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32))


def begun(first: int = 1, masks: torch.Tensor | None = None) -> tuple[FakeGenerator, Started]:
    generator = FakeGenerator()
    return generator, Started(generator, images(), masks, first)


def noise() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=images().shape).astype(np.float32))


def test_an_image_is_noised_to_the_first_step_and_denoised_from_there() -> None:
    generator, started = begun(2)
    conditions = started.encode([one.text for one in PROMPTS])
    made = started.denoise(noise(), conditions, 0, started.steps).latents
    at_first = generator.noised(images(), generator.steps, 2, noise())
    expected = generator.denoise(at_first, generator.encode([one.text for one in PROMPTS]), 2, generator.steps)
    assert torch.equal(made, expected.latents)
    assert started.steps == generator.steps - 2


def test_stopping_on_the_way_changes_nothing() -> None:
    _, started = begun()
    conditions = started.encode([one.text for one in PROMPTS])
    half = started.denoise(noise(), conditions, 0, 1).latents
    whole = started.denoise(noise(), conditions, 0, started.steps).latents
    assert torch.allclose(started.denoise(half, conditions, 1, started.steps).latents, whole)


def test_outside_of_the_mask_the_image_stays_as_it_was() -> None:
    mask = torch.zeros(3, 1, *images().shape[2:])
    mask[..., 0] = 1
    _, started = begun(1, mask)
    conditions = started.encode([one.text for one in PROMPTS])
    made = started.denoise(noise(), conditions, 0, started.steps).latents
    outside = (mask == 0).expand_as(made)
    assert torch.allclose(made[outside], images()[outside], atol=1e-5)
    assert not torch.allclose(made[~outside], images()[~outside], atol=1e-2)
    half = started.denoise(noise(), conditions, 0, 1).latents
    assert torch.allclose(started.denoise(half, conditions, 1, started.steps).latents, made, atol=1e-5)


def test_a_search_on_it_spends_only_the_steps_that_are_left() -> None:
    generator, started = begun(2)
    found = random(started, FakeVerifier(), PROMPTS, RandomSearch(candidates=4), seed=0, attempt=0, batch=5)
    assert generator.nfe == 3 * 4 * (generator.steps - 2) and all(one.kept for one in found)


def test_images_and_prompts_must_be_as_many_and_the_first_step_on_the_way() -> None:
    _, started = begun()
    with pytest.raises(ValueError, match="2 prompts, 3 images"):
        started.encode(["a", "b"])
    for first in (0, FakeGenerator().steps):
        with pytest.raises(ValueError, match="first step"):
            begun(first)
