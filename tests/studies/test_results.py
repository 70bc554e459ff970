from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from scipy import stats

from irgen.errors import IrgenError
from irgen.settings import FramesSettings, Manifest
from irgen.studies import page
from irgen.studies.results import interval, rows, summarise
from irgen.studies.settings import Run, Study

STUDY = Study(study="s", question="Does <b>more</b> help?", base="x.yaml", variants={"random": {}, "none": {}})
MANIFEST = Manifest(dataset="s", frames=FramesSettings(source="miniature"))
RUNS = [Run(variant, seed, MANIFEST) for variant in STUDY.variants for seed in STUDY.seeds]


def report(seed: int, hacked: bool, n: int = 64) -> dict[str, Any]:
    """Three budgets; where the search hacks the verifier, two nets' distances rise from the second on."""
    wobble = 0.01 * (seed - 1)
    curves = {
        ("images", "irscore"): (0.1, 0.2, 0.3),
        ("scenenet", "frechet"): (9.0, 7.0, 9.5 if hacked else 6.0),
        ("random-conv", "frechet"): (9.0, 7.0, 9.5 if hacked else 6.0),
        ("verifier", "frechet"): (1.0, 0.5, 0.3),
    }
    points = [
        {"judge": judge, "metric": metric, "candidates": count, "nfe": 8.0 * count, "value": value + wobble}
        for (judge, metric), values in curves.items()
        for count, value in zip((1, 4, 12), values, strict=True)
    ]
    return {
        "n": n,
        "curve": points,
        "verifier_auc": {"gray": 0.99},
        "verifier_test_auc": {"test grayscale": 0.98 + wobble},
    }


REPORTS = [report(run.seed, run.variant == "none") for run in RUNS]


def test_the_interval_over_seeds_is_students() -> None:
    values = [1.0, 2.0, 4.0]
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert interval(values).interval == pytest.approx(expected)
    assert interval([3.0]).interval is None


def test_seeds_whose_searches_cost_unlike_are_still_one_budget() -> None:
    """An image that was tried again costs its seed more; a schedule that was calibrated for it has other candidates."""
    reports = [report(run.seed, False) for run in RUNS]
    for point in reports[0]["curve"]:
        if point["candidates"] == 12:
            point |= {"candidates": 10, "nfe": 97.5}
    summed = summarise(STUDY, rows(RUNS, reports))
    own = [row for row in summed["figures"] if (row["variant"], row["metric"]) == ("random", "irscore")]
    assert [(row["candidates"], row["nfe"]) for row in own] == [(1, 8.0), (4, 32.0), (12, pytest.approx(96.5))]
    assert all("low" in row for row in own)
    page.render(STUDY, summed, [(run.name, "") for run in RUNS])


def test_figures_are_means_over_seeds_with_their_intervals() -> None:
    found = summarise(STUDY, rows(RUNS, REPORTS))["figures"]
    one = next(row for row in found if (row["variant"], row["metric"], row["candidates"]) == ("random", "irscore", 12))
    assert one["value"] == pytest.approx(0.3) and one["low"] < 0.3 < one["high"] and one["nfe"] == 96
    gray = next(row for row in found if row["metric"] == "gray")
    assert [gray["value"], gray["low"], gray["high"]] == pytest.approx([0.99] * 3)
    told = next(row for row in found if row["metric"] == "test grayscale")
    assert 0.95 < told["low"] < 0.98 and told["high"] == 1  # Student's would be 1.005


def test_the_alarm_compares_seed_by_seed_and_names_where_to_stop() -> None:
    alarms = summarise(STUDY, rows(RUNS, REPORTS))["alarms"]
    assert not alarms["random"]["rings"] and alarms["random"]["stop_at_nfe"] == 96
    assert alarms["none"]["rings"] and alarms["none"]["stop_at_nfe"] == 32
    assert "FID under verifier" not in alarms["none"]["judges"]


def test_runs_of_unequal_n_are_refused() -> None:
    with pytest.raises(IrgenError, match="none, seed 2: 50"):
        rows(RUNS, [*REPORTS[:-1], report(2, True, n=50)])


class Text(HTMLParser):
    """A page's visible words and what it refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.references: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_says_what_was_asked_and_found_and_asks_for_nothing() -> None:
    html = page.render(STUDY, summarise(STUDY, rows(RUNS, REPORTS)), [("random, seed 0", "../09-report/x/index.html")])
    read = Text(html)
    text = " ".join(" ".join(read.words).split())
    assert "Does <b>more</b> help?" in text and "<b>more" not in html
    assert "Alarm: from 8 to 96 NFE IRSCORE rises" in text and "Stop at 32 NFE" in text
    assert (
        text.index("none: FID under scenenet moves by")
        < text.index("Against NFE")
        < text.index("Can the verifier tell?")
    )
    assert "verifier, not independent" in text and "../09-report/x/index.html" in text
    assert all(reference.startswith("data:") for reference in read.references)
