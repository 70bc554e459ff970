import pytest
import torch

from irgen.search import lookahead
from irgen.search.interface import Denoised
from tests.fakes import FakeConditions, FakeGenerator

STEPS = 6
SHAPE = (3, 4, 5)


class Clearing(FakeGenerator):
    """Its clean estimate nears the image by the same amount at each step."""

    def denoise(self, latents, conditions, from_step, to_step):
        reached = super().denoise(latents, conditions, from_step, to_step)
        clean = torch.full_like(latents, to_step / self.steps)
        return Denoised(reached.latents, reached.latents if to_step == self.steps else clean)


def start() -> tuple[FakeGenerator, torch.Tensor, FakeConditions]:
    latents = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Clearing(steps=STEPS, latent_shape=SHAPE), latents, FakeConditions(("one", "two"))


def test_a_preview_shows_the_estimate_that_a_tenth_of_the_way_ahead_would_bring():
    generator, latents, conditions = start()
    reached = lookahead.advance(generator, latents, conditions, 0, 3, None)
    assert torch.allclose(reached.shown, torch.full_like(latents, 3 / STEPS + lookahead.AHEAD))
    assert torch.allclose(reached.clean, torch.full_like(latents, 3 / STEPS))


def test_after_the_first_forward_there_is_nothing_to_look_ahead_by():
    generator, latents, conditions = start()
    reached = lookahead.advance(generator, latents, conditions, 0, 1, None)
    assert torch.equal(reached.shown, reached.clean)


@pytest.mark.parametrize("stops", [(5,), (1, 5), (2, 3, 5), (1, 2, 3, 4, 5)])
def test_what_a_step_shows_does_not_depend_on_stops_before_it(stops):
    generator, latents, conditions = start()
    whole = lookahead.advance(generator, latents, conditions, 0, 5, None)
    at, clean = 0, None
    for step in stops:
        reached = lookahead.advance(generator, latents, conditions, at, step, clean)
        latents, clean, at = reached.latents, reached.clean, step
    assert all(torch.equal(one, other) for one, other in zip(reached, whole, strict=True))


def test_looking_ahead_takes_no_forward_and_the_end_shows_the_finished_latents():
    generator, latents, conditions = start()
    middle = lookahead.advance(generator, latents, conditions, 0, 4, None)
    assert generator.nfe == 2 * 4
    end = lookahead.advance(generator, middle.latents, conditions, 4, STEPS, middle.clean)
    assert generator.nfe == 2 * STEPS
    assert torch.equal(end.shown, end.latents)
