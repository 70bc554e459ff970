import importlib
from typing import Any

import pytest


@pytest.fixture
def bench() -> Any:
    return importlib.import_module("bench")


def shard_writing(ratio: float, bytes_ratio: float) -> dict[str, Any]:
    return {"shard_writing": {"ratio": ratio, "bytes_ratio": bytes_ratio}}


def flags(bench: Any, now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    return [wrong for _, wrong in bench.verdicts(now, before, list(now))]


def test_what_is_as_good_as_before_is_not_flagged(bench: Any) -> None:
    assert flags(bench, shard_writing(7.9, 0.95), shard_writing(8.0, 0.94)) == ["", ""]


def test_a_ratio_that_fell_by_more_than_a_tenth_is_flagged_whichever_way_is_better(bench: Any) -> None:
    assert flags(bench, shard_writing(7.1, 0.94), shard_writing(8.0, 0.94)) == ["FELL", ""]
    assert flags(bench, shard_writing(8.0, 1.05), shard_writing(8.0, 0.94)) == ["", "FELL"]
    assert flags(bench, shard_writing(9.0, 0.80), shard_writing(8.0, 0.94)) == ["", ""]


def test_a_missed_target_is_flagged_without_anything_to_compare_with(bench: Any) -> None:
    assert flags(bench, shard_writing(3.9, 1.13), {}) == ["MISSED", "MISSED"]


def test_times_of_another_day_are_not_compared_but_held_to_their_target(bench: Any) -> None:
    slow = {"cold_start": {"help_s": 0.39, "plan_s": 3.1}}
    assert flags(bench, slow, {"cold_start": {"help_s": 0.1, "plan_s": 0.2}}) == ["", "MISSED"]


def test_a_band_is_missed_on_both_sides(bench: Any) -> None:
    for ratio, wrong in ((3.8, "MISSED"), (4.0, ""), (4.2, "MISSED")):
        assert flags(bench, {"linear": {"ratio": ratio, "rss_growth": 0.0}}, {}) == [wrong, ""]


def test_a_broken_benchmark_is_flagged_and_a_skipped_one_is_not(bench: Any) -> None:
    lines = bench.verdicts(
        {"frechet": {"broken": "no scipy"}, "gpu_flux": {"skipped": "no GPU"}}, {}, ["frechet", "gpu_flux"]
    )
    assert lines == [("frechet: no scipy", "BROKEN"), ("gpu_flux: skipped: no GPU", "")]


def test_every_figure_is_of_a_benchmark_that_is_there(bench: Any) -> None:
    assert all((bench.HERE / f"{name}.py").is_file() for name in bench.BENCHMARKS)
