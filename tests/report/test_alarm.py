import numpy as np
import pytest

from irgen.report.alarm import Point, alarm
from irgen.report.measure import Measured

POINTS = [Point("unguided", 1, 8.0), Point("best_of_4", 4, 32.0), Point("guided", 12, 96.0)]
FLAT = (0.0, 0.0, 0.0)


def measured(
    irscore: tuple[float, ...],
    scenenet: tuple[float, ...] = FLAT,
    random_conv: tuple[float, ...] = FLAT,
    realism: tuple[float, ...] = FLAT,
    recall: tuple[float, ...] = FLAT,
    own: tuple[float, ...] = FLAT,
    noise: float = 0.1,
    score: tuple[float, ...] = (),
) -> Measured:
    """Figures at three budgets, and resamples of each around them."""
    curves = {
        ("images", "irscore"): irscore,
        **({("images", "score"): score} if score else {}),
        ("scenenet", "frechet"): scenenet,
        ("random-conv", "frechet"): random_conv,
        ("verifier", "frechet"): own,
        ("images", "realism"): realism,
        ("scenenet", "recall"): recall,
    }
    values = {
        (*figure, point.images): value
        for figure, curve in curves.items()
        for point, value in zip(POINTS, curve, strict=True)
    }
    rng = np.random.default_rng(0)
    draws = {key: value + rng.normal(0, noise, 200) for key, value in values.items()}
    return Measured(64, {"scenenet": True, "random-conv": True, "verifier": False}, values, draws, {})


def test_it_is_silent_where_everything_gets_better() -> None:
    found = alarm(measured((0, 1, 2), (9, 7, 5), (9, 7, 5), (-3, -2, -1), (1, 2, 3)), POINTS)
    assert not found.rings and found.stop_at.candidates == 12


def test_two_independent_judges_that_fall_ring_it_and_the_budget_before_is_named() -> None:
    found = alarm(measured((0, 1, 2), (9, 7, 9), (9, 9, 12)), POINTS)
    assert found.rings and found.stop_at.nfe == 32
    assert found.falls[0].judges == ["FID under scenenet", "FID under random-conv"]
    assert found.document()["stop_at_candidates"] == 4


def test_realism_is_a_judge_too() -> None:
    found = alarm(measured((0, 1, 2), (9, 10, 11), realism=(0, -1, -2)), POINTS)
    assert found.rings and found.stop_at.candidates == 1


def test_where_another_verifier_leads_its_score_is_what_may_not_rise_alone() -> None:
    worse = {"scenenet": (9, 10, 11), "random_conv": (9, 10, 11)}
    assert not alarm(measured((2, 1, 0), **worse), POINTS).rings
    found = alarm(measured((2, 1, 0), **worse, score=(0.4, 2, 3)), POINTS, ("clipscore",))
    assert found.rings and found.stop_at.candidates == 1 and found.document()["goal"] == "the guide's score"


def test_realism_does_not_judge_a_search_that_it_leads() -> None:
    worse = {"scenenet": (9, 10, 11), "realism": (2, 1, 0)}
    assert alarm(measured((0, 1, 2), **worse), POINTS).rings
    found = alarm(measured((0, 1, 2), **worse, score=(0, 1, 2)), POINTS, ("irscore", "realism"))
    assert not found.rings and "realism" not in found.judges


def test_recall_alone_rings_it() -> None:
    assert alarm(measured((0, 1, 2), recall=(0, 0, -3)), POINTS).stop_at.candidates == 4


def test_one_judge_alone_does_not() -> None:
    assert not alarm(measured((0, 1, 2), (9, 10, 11)), POINTS).rings


def test_the_verifiers_own_family_is_not_asked() -> None:
    assert not alarm(measured((0, 1, 2), (9, 10, 11), own=(9, 10, 11)), POINTS).rings


@pytest.mark.parametrize("score", [(0, 0, 0), (2, 1, 0)])
def test_a_score_that_does_not_rise_is_no_hacking(score: tuple[float, ...]) -> None:
    assert not alarm(measured(score, (9, 10, 11), (9, 10, 11), recall=(0, -1, -2)), POINTS).rings


def test_falls_within_the_interval_do_not_ring_it() -> None:
    assert not alarm(measured((0, 9, 18), (9, 9.1, 9.2), (9, 9.1, 9.2), recall=(0, -0.1, -0.2), noise=1), POINTS).rings


def test_a_late_fall_counts_though_the_end_is_no_worse_than_the_beginning() -> None:
    found = alarm(measured((0, 1, 2), (9, 5, 9), (9, 5, 9)), POINTS)
    assert found.stop_at.candidates == 4


def test_one_budget_alone_is_no_search() -> None:
    assert alarm(measured((0, 1, 2)), POINTS[:1]).stop_at.candidates == 1
