from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.errors import IrgenError, StoreError
from irgen.search import Scores
from irgen.verifiers import ensemble
from irgen.verifiers.ensemble import Ensemble, Ranks, Voice

PROMPTS, CANDIDATES = 12, 6


@dataclass
class Pixel:
    """Scores the value of one pixel, and the caption's number times `by_prompt`."""

    column: int
    by_prompt: float = 0.0
    scale: float = 1.0
    dead_above: float = np.inf
    reason: str = ""

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        values = images[:, 0, self.column, 0].astype(np.float64)
        dead = values > self.dead_above
        value = self.scale * values + self.by_prompt * np.array([float(caption) for caption in captions])
        value[dead] = np.nan
        reasons = tuple(self.reason if one else "" for one in dead) if self.reason else ()
        return Scores(value, {f"pixel_{self.column}": values}, reasons)


def unguided(seed: int = 0, prompts: int = PROMPTS) -> tuple[np.ndarray, list[str]]:
    pixels = np.random.default_rng(seed).integers(0, 200, (prompts, CANDIDATES, 1, 2, 3), dtype=np.uint8)
    return pixels, [str(k) for k in range(prompts)]


def build(*voices: Voice) -> Ensemble:
    return Ensemble(voices, ensemble.measure(voices, *unguided()))


def two(**arguments: float) -> Ensemble:
    return build(Voice("a", Pixel(0), 1.0), Voice("b", Pixel(1, **arguments), 1.0))


def pictures(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    return np.repeat(np.array(pairs, np.uint8)[:, None, :, None], 3, axis=-1)


def test_the_score_is_the_weighted_mean_of_ranks() -> None:
    images, captions = unguided()
    voices = [Voice("a", Pixel(0), 1.0), Voice("b", Pixel(1), 3.0)]
    references = ensemble.measure(voices, images, captions)
    judged = Ensemble(voices, references)
    probe = pictures([(10, 190), (100, 100), (190, 10)])
    scores = judged.score(probe, ["0"] * 3)
    ranks = {name: Ranks(name, rows) for name, rows in references.items()}
    weights = np.array([1 / ranks["a"].spread, 3 / ranks["b"].spread])
    columns = np.stack([ranks["a"].of(probe[:, 0, 0, 0]), ranks["b"].of(probe[:, 0, 1, 0])])
    np.testing.assert_allclose(scores.value, weights @ columns / weights.sum())
    np.testing.assert_array_equal(scores.parts["rank_b"], columns[1])
    np.testing.assert_array_equal(scores.parts["a"], [10, 100, 190])
    assert set(scores.parts) == {"a", "b", "rank_a", "rank_b", "pixel_0", "pixel_1"}


def test_measure_gives_each_prompts_candidates_their_own_caption() -> None:
    images, captions = unguided()
    measured = ensemble.measure([Voice("a", Pixel(0, by_prompt=1000), 1.0)], images, captions)["a"]
    assert measured.shape == (PROMPTS, CANDIDATES)
    np.testing.assert_array_equal(measured // 1000, np.arange(PROMPTS)[:, None] * np.ones(CANDIDATES))


@given(st.floats(0.001, 1000), st.floats(-1000, 1000))
@settings(max_examples=30, deadline=None)
def test_ranks_do_not_depend_on_a_members_scale_or_offset(scale: float, offset: float) -> None:
    reference = np.random.default_rng(0).normal(size=(10, 5))
    probe = np.linspace(-5, 5, 41)
    np.testing.assert_allclose(
        Ranks("x", scale * reference + offset).of(scale * probe + offset), Ranks("x", reference).of(probe), atol=1e-9
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True))
@settings(max_examples=50, deadline=None)
def test_ranks_lie_between_0_and_1_and_never_fall(scores: list[float]) -> None:
    ranks = Ranks("x", np.random.default_rng(1).normal(size=(8, 4))).of(np.sort(scores))
    assert ((ranks > 0) & (ranks < 1)).all() and (np.diff(ranks) >= 0).all()


def test_beyond_all_that_was_seen_better_still_is_better() -> None:
    ranks = Ranks("x", np.random.default_rng(1).normal(size=(8, 4))).of(np.array([-50.0, -20, -5, 5, 20, 50]))
    assert (np.diff(ranks) > 1e-6).all()


def test_the_reference_itself_has_evenly_spread_ranks() -> None:
    reference = np.random.default_rng(1).permutation(40).reshape(8, 5).astype(float)
    np.testing.assert_allclose(np.sort(Ranks("x", reference).of(reference.ravel())), (np.arange(40) + 0.5) / 40)


def test_equal_scores_have_their_middle_rank() -> None:
    reference = np.array([[0.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(Ranks("x", reference).of(np.array([0.0, 1.0, 2.0])), [1 / 8, 1 / 2, 7 / 8])


def test_a_member_that_mostly_judges_the_prompt_still_has_its_say_between_candidates() -> None:
    """Without weighing by the spread within a prompt, `b` would hardly count: its ranks there lie close together."""
    captions = ["5"] * 2
    for_a_a_little_for_b_much = pictures([(110, 20), (100, 180)])
    assert np.argmax(two().score(for_a_a_little_for_b_much, captions).value) == 1
    assert np.argmax(two(by_prompt=2000).score(for_a_a_little_for_b_much, captions).value) == 1


def test_a_score_does_not_depend_on_the_other_images() -> None:
    judged = two(by_prompt=3)
    images = pictures([(k * 20, 200 - k * 9) for k in range(10)])
    captions = [str(k % 3) for k in range(10)]
    together = judged.score(images, captions).value
    assert [judged.score(images[k : k + 1], captions[k : k + 1]).value[0] for k in range(10)] == list(together)


def test_an_image_that_one_member_gives_no_score_is_dead_with_the_reason() -> None:
    deaf = build(Voice("a", Pixel(0), 1.0), Voice("b", Pixel(1, dead_above=190, reason="HTTP 503"), 1.0))
    scores = deaf.score(pictures([(1, 1), (1, 250)]), ["0", "0"])
    assert np.isfinite(scores.value[0]) and np.isnan(scores.value[1])
    assert scores.reasons == ("", "HTTP 503")
    mute = build(Voice("a", Pixel(0), 1.0), Voice("b", Pixel(1, dead_above=190), 1.0))
    assert mute.score(pictures([(1, 250)]), ["0"]).reasons == ("b: score not finite",)


def test_a_member_that_cannot_choose_is_refused() -> None:
    with pytest.raises(IrgenError, match="b gives all unguided images of a prompt the same score"):
        two(by_prompt=5, scale=0)
    with pytest.raises(IrgenError, match=r"b gave 7[0-2] of 72 unguided images no score"):
        two(dead_above=-1)


def test_saved_references_give_the_same_ranks(tmp_path: Path) -> None:
    references = {"a": np.array([[0.1, np.nan], [1 / 3, 4.0]]), "b": np.arange(4.0).reshape(2, 2)}
    ensemble.save(references, tmp_path / "ensemble.json")
    read = ensemble.load(tmp_path / "ensemble.json")
    assert read.keys() == references.keys()
    for name in references:
        np.testing.assert_array_equal(read[name], references[name])


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_references_that_are_missing_or_changed_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ensemble.json"
    if damage == "changed":
        ensemble.save({"a": np.ones((2, 2))}, path)
        path.write_text(path.read_text().replace("1.0", "2.0", 1))
    with pytest.raises(StoreError, match=r"ensemble\.json"):
        ensemble.load(path)
