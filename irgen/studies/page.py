"""A study as one self-contained HTML page: what it asked, a table, curves over NFE, and the runs behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from irgen.report import charts, words
from irgen.report.looking import IRSCORE, REALISM
from irgen.report.measure import IMAGES
from irgen.report.page import environment
from irgen.report.verdict import Finding, Mood, number
from irgen.studies.results import AUC
from irgen.studies.settings import Study

HUES = ("guided", "unguided", "real", "inverted", "worst", "good", "grayscale", "between")
SHOWN = (
    (IMAGES, IRSCORE),
    ("*", "frechet"),
    ("1", "kernel"),
    (IMAGES, REALISM),
    ("1", "precision"),
    ("1", "recall"),
    ("1", "vendi"),
)
"""Judges and metrics of the page: every net's (*), the first one's (1), or of single images."""


CALIBRATED = {
    "test grayscale": "grayscale of test frames",
    "test inverted": "inverted grayscale of test frames",
    "test unguided": "unguided images",
    "test guided": "guided images",
    **{name: f"{told} (validation)" for name, told in words.NEGATIVES.items()},
}
"""What real infrared was told from, in the order of the table."""


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes:
        judge, metric: which.
        title: its name and which way is better.
        note: whose.
    """

    judge: str
    metric: str
    title: str
    note: str


@dataclass(frozen=True)
class Plot:
    """A figure against NFE, a line a variant."""

    column: Column
    chart: charts.Lines


def render(study: Study, summed: Mapping[str, Any], runs: Sequence[tuple[str, str]]) -> str:
    """Return the page's HTML.

    Args:
        study: what was asked.
        summed: as `irgen.studies.results.summarise` gives it.
        runs: of each run its name and the place of its report.
    """
    hues = {variant: HUES[place % len(HUES)] for place, variant in enumerate(study.variants)}
    cells = {(row["variant"], row["candidates"], row["judge"], row["metric"]): row for row in summed["figures"]}
    budgets = _budgets(summed["figures"])
    columns = _columns(summed)
    return (
        environment()
        .get_template("study.html")
        .render(
            study=study,
            summed=summed,
            findings=_findings(summed),
            hues=hues,
            cells=cells,
            budgets=budgets,
            columns=columns,
            aucs=[kind for kind in CALIBRATED if any(key[2:] == (AUC, kind) for key in cells)],
            negatives=CALIBRATED,
            plots=[plot for column in columns if (plot := _plot(column, budgets, cells))],
            runs=runs,
            document=study.model_dump(mode="json"),
        )
    )


def _findings(summed: Mapping[str, Any]) -> list[Finding]:
    """Say of each variant what its search gained, and whether its verifier is hacked."""
    net = next(iter(summed["nets"]))
    found = []
    for variant, alarm in summed["alarms"].items():
        change = summed["gains"][variant]["frechet"]
        ends = f" (95 % interval over seeds {number(change['low'])} to {number(change['high'])})"
        moved = f"{variant}: FID under {net} moves by {number(change['value'])}{ends} against no search"
        if alarm["rings"]:
            first = alarm["falls"][0]
            text = (
                f"{moved}. Alarm: from {first['from_nfe']:g} to {first['to_nfe']:g} NFE {alarm['goal']} rises by "
                f"{number(first['score'])} while {' and '.join(first['judges'])} got worse beyond the interval. "
                f"Stop at {alarm['stop_at_nfe']:g} NFE."
            )
        else:
            text = f"{moved}; no sign of verifier hacking up to {alarm['stop_at_nfe']:g} NFE."
        mood: Mood = "bad" if alarm["rings"] or change["low"] > 0 else "good" if change["high"] < 0 else "open"
        found.append(Finding(mood, text))
    return found


def _budgets(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, float]]:
    """Return variant, candidates and NFE of every point, variants in their order, budgets rising."""
    points: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["candidates"]:
            points.setdefault(row["variant"], {})[row["candidates"]] = row["nfe"]
    return [(variant, count, nfe) for variant, own in points.items() for count, nfe in sorted(own.items())]


def _columns(summed: Mapping[str, Any]) -> list[Column]:
    there = {(row["judge"], row["metric"]) for row in summed["figures"]}
    found = []
    for who, metric in SHOWN:
        judges = list(summed["nets"]) if who == "*" else [next(iter(summed["nets"]))] if who == "1" else [who]
        for judge in judges:
            if (judge, metric) in there:
                kind = words.METRICS[metric]
                note = "" if judge == IMAGES else f"{judge}{'' if summed['nets'][judge] else ', not independent'}"
                found.append(Column(judge, metric, kind.title + kind.arrow, note))
    return found


def _plot(
    column: Column, budgets: Sequence[tuple[str, int, float]], cells: Mapping[tuple[Any, ...], Mapping[str, Any]]
) -> Plot | None:
    """Draw a figure against NFE; None where no variant has two budgets."""
    own: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for variant, count, nfe in budgets:
        own.setdefault(variant, []).append((nfe, cells[variant, count, column.judge, column.metric]))
    series = {
        variant: charts.Series(
            [nfe for nfe, _ in points],
            [cell["value"] for _, cell in points],
            ([cell["low"] for _, cell in points], [cell["high"] for _, cell in points])
            if "low" in points[0][1]
            else None,
        )
        for variant, points in own.items()
        if len(points) > 1
    }
    return Plot(column, charts.scattered(series)) if series else None
