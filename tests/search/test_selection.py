import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.errors import IrgenError
from irgen.metrics.frechet import frechet_distances
from irgen.metrics.manifold import manifold
from irgen.search.selection import eligible, select


class World:
    """Real images of several modes, candidates of them all, and a verifier in love with one direction."""

    def __init__(self, seed: int, prompts: int = 200, candidates: int = 8) -> None:
        rng = np.random.default_rng(seed)
        modes = 2 * rng.normal(size=(6, 4))
        mixing = [rng.normal(size=(4, 24)), rng.normal(size=(4, 20))]
        taste = rng.normal(size=4)

        def hidden(*shape: int) -> np.ndarray:
            return modes[rng.integers(len(modes), size=shape)] + 0.6 * rng.normal(size=(*shape, 4))

        made = hidden(prompts, candidates) + 0.3
        # What the selection sees, and what another network, which judges it, does.
        self.features, self.judged = np.tanh(made @ mixing[0] / 3), np.maximum(made @ mixing[1], 0)
        self.real = np.tanh(hidden(500) @ mixing[0] / 3)
        self.test = np.maximum(hidden(prompts) @ mixing[1], 0)
        self.scores = made @ taste / np.linalg.norm(taste) + rng.normal(size=(prompts, candidates))

    def judge(self, chosen: np.ndarray) -> tuple[float, float]:
        """Fréchet distance and recall of a choice under the network that the selection did not see."""
        taken = self.judged[np.arange(len(chosen)), chosen]
        return frechet_distances(self.test, {"taken": taken})["taken"], manifold(self.test, taken).recall


def random_case(seed: int, prompts: int = 12, candidates: int = 5, dead: float = 0.2) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(prompts, candidates, 6)) + rng.normal(size=6)
    scores = rng.normal(size=(prompts, candidates))
    scores[rng.random(scores.shape) < dead] = np.nan
    scores[:2, 0] = 0.5
    return features, scores, rng.normal(size=(40, 6))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_undoes_the_collapse_that_best_of_n_on_a_biased_score_makes(seed: int) -> None:
    world = World(seed)
    best, unguided = world.scores.argmax(axis=1), np.zeros(len(world.scores), int)
    found = select(world.features, world.scores, world.real)
    (best_distance, best_recall), (distance, recall) = world.judge(best), world.judge(found.candidate)
    assert best_distance > 3 * world.judge(unguided)[0]
    assert distance < best_distance / 3
    assert recall > best_recall + 0.1
    assert found.after < found.before / 5
    rows = np.arange(len(best))
    assert world.scores[rows, found.candidate].mean() > world.scores[:, 0].mean() + 0.5


def test_free_of_the_score_it_finds_the_candidates_that_were_planted_as_real() -> None:
    rng = np.random.default_rng(3)
    real = rng.normal(size=(600, 5)) * [3, 2, 1, 1, 0.5]
    features = rng.normal(size=(150, 4, 5)) * 4 + 6
    planted = rng.integers(4, size=150)
    features[np.arange(150), planted] = rng.normal(size=(150, 5)) * [3, 2, 1, 1, 0.5]
    found = select(features, rng.normal(size=(150, 4)), real, share=1)
    assert (found.candidate == planted).mean() > 0.95


def test_distances_are_the_frechet_distances_of_the_features() -> None:
    features, scores, real = random_case(4, dead=0)
    found, rows = select(features, scores, real), np.arange(len(scores))
    sets = {"before": features[rows, scores.argmax(axis=1)], "after": features[rows, found.candidate]}
    expected = frechet_distances(real, sets)
    assert (found.before, found.after) == pytest.approx((expected["before"], expected["after"]), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.25, 0.5, 0.8, 1.0]))
def test_no_choice_breaks_the_constraint_or_raises_the_distance(seed: int, share: float) -> None:
    features, scores, real = random_case(seed)
    found = select(features, scores, real, share=share)
    assert found.after <= found.before
    for chosen, row in zip(found.candidate, scores, strict=True):
        if np.isnan(row).all():
            assert chosen == -1
        else:
            alive = row[~np.isnan(row)]
            assert row[chosen] >= np.quantile(alive, 1 - share)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_the_order_of_the_prompts_does_not_matter(seed: int) -> None:
    features, scores, real = random_case(seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    straight, shuffled = select(features, scores, real), select(features[order], scores[order], real)
    np.testing.assert_array_equal(shuffled.candidate, straight.candidate[order])


def test_the_same_call_gives_the_same_choice() -> None:
    world = World(5, prompts=60)
    first, second = (select(world.features, world.scores, world.real) for _ in range(2))
    np.testing.assert_array_equal(first.candidate, second.candidate)


def test_what_a_dead_candidate_looks_like_is_not_read() -> None:
    features, scores, real = random_case(6)
    found = select(features, scores, real)
    features[np.isnan(scores)] = np.nan
    np.testing.assert_array_equal(select(features, scores, real).candidate, found.candidate)
    features[0, 0] = np.inf
    with pytest.raises(IrgenError, match="1 of 60 feature rows are not finite"):
        select(features, scores, real)


def test_fewer_images_than_components_still_improve() -> None:
    rng = np.random.default_rng(7)
    real, features = rng.normal(size=(80, 40)), rng.normal(size=(10, 6, 40)) * rng.uniform(0.5, 3, (10, 6, 1))
    found = select(features, rng.normal(size=(10, 6)), real, share=1)
    assert found.after < 0.9 * found.before


def test_a_real_set_without_variance_in_some_direction_is_no_trouble() -> None:
    features, scores, real = random_case(8)
    real[:, 3] = real[:, 0]
    assert np.isfinite(select(features, scores, real).after)


def test_the_median_and_the_best_are_always_eligible() -> None:
    scores = np.array([[1, 2, 3, 4, np.nan], [np.nan, np.nan, 7, np.nan, np.nan]])
    np.testing.assert_array_equal(eligible(scores, 0.5), [[0, 0, 1, 1, 0], [0, 0, 1, 0, 0]])
    np.testing.assert_array_equal(eligible(scores, 0.01), [[0, 0, 0, 1, 0], [0, 0, 1, 0, 0]])
    np.testing.assert_array_equal(eligible(scores, 1), [[1, 1, 1, 1, 0], [0, 0, 1, 0, 0]])


def test_one_image_is_no_set_and_shapes_must_fit() -> None:
    features, scores, real = random_case(9)
    scores[1:] = np.nan
    with pytest.raises(IrgenError, match="two prompts with a live candidate and two real frames, not 1 and 40"):
        select(features, scores, real)
    with pytest.raises(ValueError, match="must be"):
        select(features, scores[:, :2], real)
    with pytest.raises(ValueError, match="share must be"):
        select(features, scores, real, share=0)
