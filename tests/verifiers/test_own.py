from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irgen import seeds
from irgen.errors import WeightsError
from irgen.search import Denoised, lookahead
from irgen.verifiers import own
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import OWN
from tests.fakes import FakeGenerator
from tests.tiny_clip import HEIGHT_PX, WIDTH_PX, examples

SHAPE = (3, HEIGHT_PX, WIDTH_PX)


class Fading(FakeGenerator):
    """Previews show the latents as they are, not as they will be."""

    def denoise(self, *arguments: Any) -> Denoised:
        latents = super().denoise(*arguments).latents
        return Denoised(latents, latents)


def nothing_to_load() -> FakeGenerator:
    pytest.fail("loaded although all is there")


@given(rows=st.integers(1, 9), count=st.integers(1, 40), more=st.integers(0, 20))
def test_train_captions_come_in_rounds_and_more_samples_change_none(rows: int, count: int, more: int) -> None:
    jobs = own.plan(rows, "train", count)
    assert own.plan(rows, "train", count + more)[:count] == jobs
    times = Counter(job.row for job in jobs)
    assert len(jobs) == count and max(times.values()) - min(times.get(row, 0) for row in range(rows)) <= 1
    assert len({job.seed for job in jobs}) == count


@given(rows=st.integers(1, 60), count=st.integers(1, 2000))
def test_held_out_captions_have_several_noises_each(rows: int, count: int) -> None:
    jobs = own.plan(rows, "val", count)
    assert len(jobs) == min(max(count // 4, own.FEWEST_HELD_OUT), 4 * rows)
    assert len({job.seed for job in jobs}) == len(jobs)
    for start in range(0, len(jobs) - 3, 4):
        assert len({job.row for job in jobs[start : start + 4]}) == 1
    assert not {job.seed for job in jobs} & {job.seed for job in own.plan(rows, "train", count)}


@given(st.integers(1, 100))
def test_previews_lie_between_the_first_step_and_the_last(steps: int) -> None:
    taken = own.preview_steps(steps)
    assert all(0 < step < steps for step in taken) and list(taken) == sorted(set(taken))
    assert taken or steps == 1
    assert own.preview_steps(28) == (7, 11, 15, 21)


def test_samples_are_the_generators_and_previews_of_the_same_generations(clip: Clip, tmp_path: Path) -> None:
    plain = examples(5)
    generator = Fading(latent_shape=SHAPE)
    with_own = own.with_own(clip, plain, "train", 11, lambda: generator, tmp_path, previews=True)
    assert generator.nfe == 11 * generator.steps
    jobs = own.plan(5, "train", 11)
    assert with_own.owners[OWN].tolist() == [job.row for job in jobs]
    assert set(generator.encoded) == {"An INFRARED photo of " + caption for caption in set(plain.captions)}
    assert list(with_own.previews_u8) == [1, 2, 3]
    ahead = 0.9**3 + lookahead.AHEAD * 4 * (0.9**3 - 0.9**2)
    for name, step, share in ((OWN, 4, 0.9**4), (1, 1, 0.9), (3, 3, ahead)):
        noise = np.stack([seeds.stream(job.seed).standard_normal(SHAPE, np.float32) for job in jobs])
        expected = generator.decode(torch.from_numpy(noise) * share)
        found = with_own.negatives_u8[OWN] if name == OWN else with_own.previews_u8[step]
        np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), expected.astype(int), atol=1)
    assert torch.equal(with_own.negatives_u8["gray"], plain.negatives_u8["gray"])


def test_what_an_earlier_run_made_is_read(clip: Clip, tmp_path: Path) -> None:
    plain = examples(5)
    generator = FakeGenerator(latent_shape=SHAPE)
    first = own.with_own(clip, plain, "train", 20, lambda: generator, tmp_path, previews=False)
    again = own.with_own(clip, plain, "train", 20, nothing_to_load, tmp_path, previews=False)
    assert torch.equal(first.negatives_u8[OWN], again.negatives_u8[OWN]) and again.previews_u8 == {}
    assert len(generator.rendered) == 20


def test_images_that_are_not_finite_stop_it(clip: Clip, tmp_path: Path) -> None:
    generator = FakeGenerator(latent_shape=SHAPE)
    generator.denoise = lambda latents, *rest: FakeGenerator.denoise(generator, latents * np.nan, *rest)  # type: ignore[method-assign]
    with pytest.raises(WeightsError, match=r"own sample .* not finite\n.*--from adapter"):
        own.with_own(clip, examples(5), "val", 8, lambda: generator, tmp_path, previews=False)
    assert not list(tmp_path.rglob("*.safetensors"))
