from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from irgen.metrics.frechet import frechet_distances
from irgen.report.measure import Measured, measure, search_figures
from irgen.report.sets import ImageSet
from irgen.settings import ReportSettings

SETTINGS = ReportSettings(bootstrap=40, seed=3)


def extract(images: ImageSet) -> np.ndarray:
    """Two features of an image: its level, and a fixed number of its key."""
    return np.array([[image.mean(), int(key) % 7] for key, image in zip(images.keys, images, strict=True)])


def score(images: ImageSet) -> np.ndarray:
    """Likes dark images."""
    return np.array([1 - image.mean() / 255 for image in images])


@pytest.fixture
def measured(sets: dict[str, ImageSet]) -> Measured:
    return measure(sets, extract, score, SETTINGS)


def test_every_distance_is_to_the_real_test_frames(measured: Measured, sets: dict[str, ImageSet]) -> None:
    features = {name: extract(images) for name, images in sets.items()}
    assert measured.figures["fid"] == pytest.approx(frechet_distances(features.pop("real"), features))
    fid = measured.figures["fid"]
    assert fid["floor"] < fid["guided"] < fid["unguided"] < fid["worst"] < fid["grayscale"]
    assert measured.figures["n"] == 64


def test_scores_are_means_over_each_sets_own_images(measured: Measured, sets: dict[str, ImageSet]) -> None:
    assert measured.figures["irscore"] == {
        name: pytest.approx(score(images).mean()) for name, images in sets.items() if name != "floor"
    }


def test_what_guidance_gained_is_positive_where_it_is_better(measured: Measured) -> None:
    figures = measured.figures
    assert figures["gain"]["fid"] == figures["fid"]["unguided"] - figures["fid"]["guided"] > 0
    assert figures["gain"]["irscore"] == figures["irscore"]["guided"] - figures["irscore"]["unguided"] > 0


def test_every_figure_has_an_interval_about_it(measured: Measured) -> None:
    for group in ("fid", "irscore", "gain"):
        values = measured.figures[group]
        intervals = measured.figures["intervals"][group]
        assert intervals.keys() == values.keys()
        assert all(low < values[name] < high for name, (low, high) in intervals.items())


def test_equal_seeds_give_equal_intervals_and_others_do_not(sets: dict[str, ImageSet], measured: Measured) -> None:
    again = measure(sets, extract, score, SETTINGS)
    other = measure(sets, extract, score, SETTINGS.model_copy(update={"seed": 4}))
    assert again.figures == measured.figures
    assert other.figures["intervals"] != measured.figures["intervals"]
    assert other.figures["fid"] == measured.figures["fid"]


def test_sets_of_the_same_prompts_are_resampled_together(sets: dict[str, ImageSet]) -> None:
    same = {**sets, "unguided": sets["guided"]}
    figures = measure(same, extract, score, SETTINGS).figures
    assert figures["gain"] == {"fid": 0, "irscore": 0}
    assert figures["intervals"]["gain"] == {"fid": [0, 0], "irscore": [0, 0]}


def test_no_resamplings_no_intervals(sets: dict[str, ImageSet]) -> None:
    assert measure(sets, extract, score, ReportSettings(bootstrap=0)).figures["intervals"] == {}


def test_a_missing_baseline_is_none_and_the_rest_is_as_before(sets: dict[str, ImageSet], measured: Measured) -> None:
    del sets["grayscale"]
    figures = measure(sets, extract, score, SETTINGS).figures
    assert figures["fid"]["grayscale"] is None and figures["irscore"]["grayscale"] is None
    assert figures["fid"]["guided"] == measured.figures["fid"]["guided"]


def test_more_dimensions_than_images_are_measured_too(make_set: Callable[..., ImageSet]) -> None:
    names = ("real", "floor", "unguided", "guided")
    sets = {name: make_set(name, 6, 100 + 20 * place) for place, name in enumerate(names)}

    def wide(images: ImageSet) -> np.ndarray:
        return np.stack([np.sin(np.arange(12) * image.mean()) for image in images])

    figures = measure(sets, wide, score, SETTINGS).figures
    assert figures["dimensions"] == 12 and figures["n"] == 6
    assert all(value > 0 for name, value in figures["fid"].items() if name != "grayscale")


def row(key: str, candidate: int, score: float, **more: Any) -> dict[str, Any]:
    dead = "" if np.isfinite(score) else "flat image"
    return {"key": key, "attempt": 0, "candidate": candidate, "score": score, "nfe": 10, "dead": dead} | more


def test_the_search_is_summed_up_from_its_candidates() -> None:
    table = pd.DataFrame(
        [row("a", 0, 0.1), row("a", 1, 0.5), row("a", 2, 0.3), row("b", 0, 0.4), row("b", 1, np.nan), row("b", 2, 0.2)]
    )
    table["kept"] = [False, True, False, True, False, False]
    figures = search_figures(table.sample(frac=1, random_state=1))
    assert figures["images"] == 2 and figures["nfe_per_image"] == 30
    assert figures["search"]["best_of"] == pytest.approx([0.25, 0.45, 0.45])
    assert figures["search"]["lowest"] == pytest.approx(0.15)
    assert figures["search"]["dead"] == {"flat image": 1}
