import logging

import numpy as np
import pytest
from cleanfid.fid import frechet_distance as cleanfid_distance

from irgen.errors import IrgenError
from irgen.metrics.comparison import Figure, compare
from irgen.metrics.kernel import kernel_distance
from irgen.metrics.manifold import manifold


def features(seed: int, count: int = 80, dimensions: int = 6, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, dimensions))


def singles(count: int) -> list[str]:
    return [str(row) for row in range(count)]


def figures(real: np.ndarray, generated: np.ndarray, videos: int = 80, **options: int) -> dict[str, Figure]:
    groups = [str(row * videos // len(real)) for row in range(len(real))]
    return compare(real, generated, groups, singles(len(generated)), **{"resamplings": 20, "seed": 0, **options})


def test_every_figure_is_the_one_its_own_function_gives() -> None:
    real, generated = features(1), features(2, shift=0.3)
    found = figures(real, generated)
    theirs = cleanfid_distance(
        real.mean(0), np.cov(real, rowvar=False), generated.mean(0), np.cov(generated, rowvar=False)
    )
    assert found["frechet"].value == pytest.approx(theirs, rel=1e-6)
    assert found["kernel"].value == kernel_distance(real, generated)
    assert {name: found[name].value for name in manifold(real, generated)._fields} == manifold(
        real, generated
    )._asdict()


def test_every_interval_holds_its_figure_and_has_a_width() -> None:
    for name, one in figures(features(3), features(4, shift=0.5)).items():
        assert one.low < one.value < one.high, name


def test_intervals_are_wider_where_images_of_a_video_are_alike() -> None:
    rng = np.random.default_rng(5)
    real = np.repeat(rng.normal(size=(8, 6)), 10, axis=0) + 0.3 * rng.normal(size=(80, 6))
    whole, single = (figures(real, features(6), videos, resamplings=60)["kernel"] for videos in (8, 80))
    assert whole.high - whole.low > 1.3 * (single.high - single.low)


def test_the_seed_decides_the_intervals() -> None:
    real, generated = features(7), features(8)
    assert figures(real, generated) == figures(real, generated) != figures(real, generated, seed=1)


def test_unequal_n_is_refused() -> None:
    with pytest.raises(IrgenError, match="80 real and 60 generated images") as caught:
        figures(features(9), features(10, 60))
    assert caught.value.fix == "Take 60 of each."


def test_few_images_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        figures(features(11, 50), features(12, 50), 50)
        assert not caplog.records
        figures(features(11, 49), features(12, 49), 49)
    assert "49 images a side: below 50" in caplog.text
