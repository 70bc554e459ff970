"""Which curves a report shows: figures against NFE, grey levels, spectra, and what more candidates bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irgen.metrics.frechet import F64
from irgen.report import charts, words
from irgen.report.looking import IRSCORE, REALISM, SCORE, Seen
from irgen.report.measure import GRAYSCALE, GUIDED, IMAGES, REAL, UNGUIDED

BUDGETED = (
    (IMAGES, IRSCORE),
    (IMAGES, SCORE),
    ("*", "frechet"),
    ("*", "kernel"),
    (IMAGES, REALISM),
    ("1", "precision"),
    ("1", "recall"),
    ("1", "coverage"),
    ("1", "vendi"),
)
"""Judges and metrics that are drawn against NFE: every net's (*), the first one's (1), or of single images."""

LEVEL_BINS = 64


@dataclass(frozen=True)
class Chart:
    """A chart and what stands above it.

    Attributes:
        title: which figure.
        note: whose, and whether the judge is independent.
        chart: the lines.
        values: of the points, for those who cannot see it.
    """

    title: str
    note: str
    chart: charts.Lines
    values: list[float]


def curves(rows: Sequence[Mapping[str, Any]], judges: Mapping[str, Any], guide: Sequence[str]) -> list[Chart]:
    """Draw figures against NFE; none where there is one budget only.

    Args:
        rows: judge, metric, candidates, nfe, value, low, high; each figure's budgets rising.
        judges: by name, with `independent`; the first is the report's own.
        guide: names of the verifiers that led the search.
    """
    by_figure: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_figure.setdefault((row["judge"], row["metric"]), []).append(row)
    found = []
    for who, metric in BUDGETED:
        asked = list(judges) if who == "*" else [next(iter(judges))] if who == "1" else [who]
        for judge in asked:
            points = by_figure.get((judge, metric), [])
            if len(points) > 1:
                note = _of_images(metric, guide) if judge == IMAGES else _of_net(judge, judges)
                found.append(_curve(metric, points, note))
    return found


def _of_images(metric: str, guide: Sequence[str]) -> str:
    if metric == SCORE or [*guide] == [metric]:
        return "what is searched for"
    if metric in guide:
        return "part of what is searched for"
    return "not searched for" if metric == IRSCORE else "independent"


def _of_net(judge: str, judges: Mapping[str, Any]) -> str:
    return f"{judge}, {'independent' if judges[judge]['independent'] else 'not independent'}"


def _curve(metric: str, points: Sequence[Mapping[str, Any]], note: str) -> Chart:
    values = [point["value"] for point in points]
    band = ([point["low"] for point in points], [point["high"] for point in points]) if "low" in points[0] else None
    kind = words.METRICS[metric]
    drawn = charts.scattered({GUIDED: charts.Series([point["nfe"] for point in points], values, band)})
    return Chart(kind.title + kind.arrow, note, drawn, values)


def levels(seen: Mapping[str, Seen]) -> charts.Lines:
    """Draw the square roots of the shares of grey levels: infrared is mostly black, which would hide the rest."""
    width = 256 // LEVEL_BINS
    shares = {name: seen[name].histograms.mean(axis=0).reshape(-1, width).sum(axis=1) for name in _shown(seen)}
    series: dict[str, tuple[Sequence[float], charts.Band | None]] = {
        name: (np.sqrt(share).tolist(), None) for name, share in shares.items()
    }
    return charts.lines(range(0, 256, width), series)


def spectra(seen: Mapping[str, Seen]) -> charts.Lines:
    """Draw the radial power spectra, in tens of decibels, with the band that holds 90 % of the real frames."""
    series: dict[str, tuple[Sequence[float], charts.Band | None]] = {}
    for name in _shown(seen):
        rows: F64 = seen[name].spectra
        low, high = np.quantile(rows, [0.05, 0.95], axis=0)
        series[name] = (rows.mean(axis=0).tolist(), (low.tolist(), high.tolist()) if name == REAL else None)
    return charts.lines(range(next(iter(seen.values())).spectra.shape[1]), series)


def best_of(search: Mapping[str, Any]) -> charts.Lines:
    """Draw the mean best score of 1, 2, ... candidates."""
    values, band = search["best_of"], search["best_of_band"]
    return charts.lines(range(1, len(values) + 1), {GUIDED: (values, (band[0], band[1]))})


def _shown(seen: Mapping[str, Seen]) -> list[str]:
    return [name for name in (GRAYSCALE, REAL, UNGUIDED, GUIDED) if name in seen]
