import numpy as np
import pytest

from irgen.metrics.bootstrap import interval, intervals, resample


def test_a_resample_has_as_many_rows_and_keeps_videos_whole() -> None:
    groups = [video for video in "abcdefgh" for _ in range(5)]
    rows = resample(groups, np.random.default_rng(0))
    assert len(rows) == 40
    counts = np.bincount([ord(groups[row]) - ord("a") for row in rows], minlength=8)
    assert (counts % 5 == 0).all() and (counts == 0).any()


def test_uneven_videos_still_give_as_many_rows() -> None:
    groups = ["a"] * 7 + ["b"] * 2 + ["c"] * 4
    assert {len(resample(groups, np.random.default_rng(seed))) for seed in range(20)} == {13}


def test_rows_without_common_groups_are_drawn_one_by_one() -> None:
    rows = resample([str(row) for row in range(200)], np.random.default_rng(1))
    assert 100 < len(set(rows.tolist())) < 150


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(5, 2, 400)
    means = [values[resample([str(row) for row in range(400)], rng)].mean() for _ in range(1500)]
    low, high = interval(float(values.mean()), means)
    assert high - low == pytest.approx(2 * 1.96 * 2 / np.sqrt(400), rel=0.12)


def test_the_interval_is_that_of_the_quantiles_about_the_mean() -> None:
    assert interval(10.0, np.arange(1001)) == pytest.approx([10 - 475, 10 + 475])


def test_the_interval_is_wider_where_images_of_a_video_are_alike() -> None:
    rng = np.random.default_rng(3)
    values = np.repeat(rng.normal(size=20), 10)
    alone, whole = ([str(row) for row in range(200)], [str(row // 10) for row in range(200)])
    widths = []
    for groups in (alone, whole):
        low, high = interval(0.0, [values[resample(groups, rng)].mean() for _ in range(600)])
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_the_interval_is_about_the_estimate_even_when_every_resample_is_above_it() -> None:
    low, high = interval(10.0, [14.0, 15.0, 16.0])
    assert low < 10 < high


def test_intervals_of_a_difference_of_means_are_the_textbook_ones() -> None:
    rng = np.random.default_rng(4)
    real, generated = rng.normal(5, 2, 300), rng.normal(3, 1, 300)
    names = [str(row) for row in range(300)]

    def gap(rows: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
        return {"gap": float(real[rows].mean() - generated[drawn].mean())}

    low, high = intervals(gap, names, names, resamplings=1200, seed=0)["gap"]
    assert (low + high) / 2 == pytest.approx(real.mean() - generated.mean(), abs=0.03)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt((2**2 + 1) / 300), rel=0.15)
    assert intervals(gap, names, names, resamplings=5, seed=0) != intervals(gap, names, names, resamplings=5, seed=1)
