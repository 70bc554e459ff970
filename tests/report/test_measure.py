from typing import Any

import numpy as np
import pandas as pd
import pytest

from irgen.errors import IrgenError
from irgen.metrics.frechet import frechet_distances
from irgen.metrics.kernel import kernel_distance
from irgen.metrics.manifold import manifold
from irgen.report.looking import Seen
from irgen.report.measure import FLOOR, GUIDED, IMAGES, UNGUIDED, Measured, key_figures, measure, search_figures
from irgen.report.sets import ImageSet
from irgen.settings import ReportSettings

SETTINGS = ReportSettings(bootstrap=40, seed=3)
NETS = {"levels": True, "own": False}


def look(images: ImageSet) -> Seen:
    """Two features of an image: its level, and a fixed number of its key; likes dark images."""
    levels = np.array([image.mean() for image in images])
    features = np.stack([levels, [int(key) % 7 for key in images.keys]], 1)
    histograms = np.eye(256)[levels.astype(int)]
    values = {"brightness": levels, **({} if images.name == "floor" else {"irscore": 1 - levels / 255})}
    return Seen({"levels": features, "own": features[:, ::-1] * 2}, values, histograms, np.zeros((len(images), 12)))


def measured_of(sets: dict[str, ImageSet], settings: ReportSettings = SETTINGS) -> Measured:
    seen = {name: look(one) for name, one in sets.items()}
    return measure(sets, seen, NETS, seen[FLOOR].features, settings)


@pytest.fixture
def measured(sets: dict[str, ImageSet]) -> Measured:
    return measured_of(sets)


def test_every_distance_is_to_the_real_test_frames(measured: Measured, sets: dict[str, ImageSet]) -> None:
    features = {name: look(images).features["levels"] for name, images in sets.items()}
    real = features.pop("real")
    fid = key_figures(measured)["fid"]
    assert fid == pytest.approx(frechet_distances(real, features))
    assert fid["floor"] < fid["guided"] < fid["unguided"] < fid["worst"] < fid["grayscale"] < fid["inverted"]
    assert measured.n == 64
    assert measured.figure("levels", "kernel", GUIDED).value == pytest.approx(kernel_distance(real, features["guided"]))
    theirs = manifold(real, features["guided"])
    assert measured.figure("levels", "recall", GUIDED).value == theirs.recall


def test_scores_are_means_over_each_sets_own_images(measured: Measured, sets: dict[str, ImageSet]) -> None:
    assert key_figures(measured)["irscore"] == {
        name: pytest.approx(look(images).values["irscore"].mean()) for name, images in sets.items() if name != "floor"
    }


def test_what_guidance_gained_is_positive_where_it_is_better(measured: Measured) -> None:
    figures = key_figures(measured)
    assert figures["gain"]["fid"] == figures["fid"]["unguided"] - figures["fid"]["guided"] > 0
    assert figures["gain"]["irscore"] == figures["irscore"]["guided"] - figures["irscore"]["unguided"] > 0


def test_copies_are_looked_for_among_all_that_was_learnt(sets: dict[str, ImageSet]) -> None:
    seen = {name: look(one) for name, one in sets.items()}
    # More frames were learnt than the report takes of each set, and what is shown as new are copies of those.
    learnt = {
        net: np.concatenate([rows + 1e-3, seen[GUIDED].features[net]]) for net, rows in seen["real"].features.items()
    }
    assert measure(sets, seen, NETS, learnt, SETTINGS).figure("levels", "copying", GUIDED).value > 0.9
    few = {net: rows[:64] for net, rows in learnt.items()}
    assert measure(sets, seen, NETS, few, SETTINGS).figure("levels", "copying", GUIDED).value < 0.5


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_images_have_figures_and_intervals_of_what_can_be_resampled(sets: dict[str, ImageSet], n: int) -> None:
    few = {name: one.take(range(n)) for name, one in sets.items()}
    found = measured_of(few, ReportSettings(bootstrap=100, seed=3))
    assert np.isfinite(found.figure("levels", "kernel", GUIDED).value)
    assert found.figure("levels", "frechet", GUIDED).interval is not None


def test_every_figure_has_an_interval_about_it(measured: Measured) -> None:
    table = measured.table()
    assert {"frechet", "kernel", "recall", "vendi", "copying", "irscore", "histogram_distance"} <= set(table["metric"])
    assert table[["value", "low", "high"]].notna().all().all()
    assert (table["low"] <= table["value"] + 1e-9).all() and (table["value"] <= table["high"] + 1e-9).all()


def test_equal_seeds_give_equal_intervals_and_others_do_not(sets: dict[str, ImageSet], measured: Measured) -> None:
    again, other = measured_of(sets), measured_of(sets, SETTINGS.model_copy(update={"seed": 4}))
    pd.testing.assert_frame_equal(again.table(), measured.table())
    assert other.figure("levels", "frechet", GUIDED) != measured.figure("levels", "frechet", GUIDED)
    assert dict(other.values) == dict(measured.values)


def test_sets_of_the_same_prompts_are_resampled_together(sets: dict[str, ImageSet]) -> None:
    change = measured_of({**sets, "unguided": sets["guided"]}).change("levels", "frechet", GUIDED, UNGUIDED)
    assert change.value == 0 and change.interval == (0, 0)


def test_sets_of_unequal_size_are_refused(sets: dict[str, ImageSet]) -> None:
    with pytest.raises(IrgenError, match="worst 40"):
        measured_of({**sets, "worst": sets["worst"].take(range(40))})


def test_grey_levels_are_compared_as_whole_sets(measured: Measured, sets: dict[str, ImageSet]) -> None:
    distance = {name: measured.figure(IMAGES, "histogram_distance", name).value for name in sets if name != "real"}
    assert distance["guided"] < distance["unguided"] < distance["grayscale"] < distance["inverted"]


def test_of_few_images_no_balls_are_drawn(sets: dict[str, ImageSet]) -> None:
    few = measured_of({name: one.take(range(20)) for name, one in sets.items()})
    assert not few.has("levels", "recall", GUIDED) and few.has("levels", "kernel", GUIDED)


def test_no_resamplings_no_intervals(sets: dict[str, ImageSet]) -> None:
    measured = measured_of(sets, ReportSettings(bootstrap=0))
    assert key_figures(measured)["intervals"] == {}
    assert measured.figure("levels", "frechet", GUIDED).interval is None


def test_a_missing_baseline_is_none_and_the_rest_is_as_before(sets: dict[str, ImageSet], measured: Measured) -> None:
    del sets["grayscale"], sets["inverted"]
    figures = key_figures(measured_of(sets))
    assert figures["fid"]["grayscale"] is None and figures["irscore"]["grayscale"] is None
    assert figures["fid"]["guided"] == key_figures(measured)["fid"]["guided"]


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
