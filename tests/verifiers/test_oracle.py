import numpy as np

from irgen.metrics.diversity import inception_score
from irgen.metrics.frechet import Statistics, frechet_distance
from irgen.verifiers.oracle import FrechetOracle, InceptionOracle


def features(images: np.ndarray) -> np.ndarray:
    return images[:, 0, :2, 0].astype(np.float64)


def probabilities(images: np.ndarray) -> np.ndarray:
    rows = images[:, 0, :, 0].astype(np.float64) + 1
    return rows / rows.sum(axis=1, keepdims=True)


def score_of(probabilities: np.ndarray) -> float:
    return inception_score(np.log(probabilities), splits=1)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 3, 3), dtype=np.uint8)


def test_a_score_is_minus_the_fid_of_the_kept_set_with_the_image() -> None:
    real, kept, candidates = (features(images(count, count)) for count in (50, 9, 5))
    oracle = FrechetOracle(features, Statistics.of(real), kept)
    value = oracle.score(images(5, 5), [""] * 5).value
    expected = [-frechet_distance(Statistics.of(real), Statistics.of(np.vstack([kept, row]))) for row in candidates]
    np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_keeping_the_best_brings_the_set_nearer_than_keeping_the_worst() -> None:
    real = Statistics.of(features(images(200, 1)))
    distances = {}
    for name, choose in (("best", np.argmax), ("worst", np.argmin)):
        oracle = FrechetOracle(features, real, features(images(2, 2)))
        for turn in range(20):
            candidates = images(6, 100 + turn)
            oracle.keep(candidates[[choose(oracle.score(candidates, [""] * 6).value)]])
        distances[name] = oracle.distance()
    assert distances["best"] < 0.5 * distances["worst"]


def test_keep_changes_what_the_next_image_is_worth() -> None:
    oracle = FrechetOracle(features, Statistics.of(features(images(50))), features(images(3, 1)))
    before = oracle.score(images(1, 2), [""]).value
    oracle.keep(images(4, 3))
    assert oracle.score(images(1, 2), [""]).value != before


def test_an_inception_oracle_scores_the_whole_set_with_the_image() -> None:
    kept, candidates = probabilities(images(7, 1)), probabilities(images(4, 2))
    oracle = InceptionOracle(probabilities, kept)
    expected = [score_of(np.vstack([kept, row])) for row in candidates]
    np.testing.assert_allclose(oracle.score(images(4, 2), [""] * 4).value, expected)
    oracle.keep(images(4, 2))
    kept = np.vstack([kept, candidates])
    last = probabilities(images(1, 3))
    expected = score_of(np.vstack([kept, last]))
    np.testing.assert_allclose(oracle.score(images(1, 3), [""]).value, [expected])


def test_an_inception_oracle_may_start_from_nothing() -> None:
    value = InceptionOracle(probabilities, np.zeros((0, 3))).score(images(2), ["", ""]).value
    np.testing.assert_allclose(value, 1)
