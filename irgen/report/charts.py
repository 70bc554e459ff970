"""Numbers to the coordinates of the page's small charts; the template draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irgen.metrics.frechet import F64

BINS = 48
LEAST_GAP = 0.14
"""Between what stands under an axis, as a share of its width."""


@dataclass(frozen=True)
class Histogram:
    """One set's values over the chart's common axis.

    Attributes:
        name: of the set.
        heights: of the bars, 0..1, the highest 1.
        mean: place of the mean on the axis, 0..1.
        value: the mean itself.
        count: how many values.
    """

    name: str
    heights: list[float]
    mean: float
    value: float
    count: int


@dataclass(frozen=True)
class Histograms:
    """Histograms one below the other.

    Attributes:
        low, high: ends of the common axis.
        rows: one a set.
    """

    low: float
    high: float
    rows: list[Histogram]


def histograms(values: Mapping[str, F64], bins: int = BINS) -> Histograms:
    """Bin several sets' finite values on one axis that covers them all."""
    everything = np.concatenate([part for part in values.values() if len(part)])
    low, high = float(everything.min()), float(everything.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rows = []
    for name, part in values.items():
        counts = np.histogram(part, bins, (low, high))[0] if len(part) else np.zeros(bins)
        mean = float(part.mean()) if len(part) else low
        heights = (counts / max(1, counts.max())).round(4).tolist()
        rows.append(Histogram(name, heights, round((mean - low) / (high - low), 4), mean, len(part)))
    return Histograms(low, high, rows)


@dataclass(frozen=True)
class Whisker:
    """A figure and its interval on a common axis, all as places 0..1."""

    low: float
    value: float
    high: float


def whiskers(values: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> dict[str, Whisker]:
    """Place positive figures and their intervals (where there are any) on one logarithmic axis.

    An end at or below zero is drawn at the axis's beginning, a third of the least figure.
    """
    if not values:
        return {}
    spans = {name: tuple(intervals.get(name, (value, value))) for name, value in values.items()}
    least = max(min(values.values()) / 3, 1e-9)
    most = max(*values.values(), *(end for span in spans.values() for end in span), 2 * least)

    def place(value: float) -> float:
        return round(math.log(max(value, least) / least) / math.log(most / least), 4)

    return {name: Whisker(place(spans[name][0]), place(value), place(spans[name][1])) for name, value in values.items()}


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: of what it shows.
        points: x and y of each point, 0..1, y upwards.
        band: corners of the band around it, there and back; empty without one.
    """

    name: str
    points: list[tuple[float, float]]
    band: list[tuple[float, float]]


@dataclass(frozen=True)
class Lines:
    """Lines over a common axis.

    Attributes:
        lines: one a series.
        low, high: ends of the vertical axis.
        ticks: places 0..1 on the horizontal axis and what stands there.
    """

    lines: list[Line]
    low: float
    high: float
    ticks: list[tuple[float, str]]


Band = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Series:
    """One line before it is laid out.

    Attributes:
        x: rising.
        values: at each x.
        band: lower and upper ends at each x, or None.
    """

    x: Sequence[float]
    values: Sequence[float]
    band: Band | None = None


def lines(x: Sequence[float], series: Mapping[str, tuple[Sequence[float], Band | None]]) -> Lines:
    """Lay series out over one common, linear x."""
    drawn = _laid_out({name: Series(x, values, band) for name, (values, band) in series.items()}, float)
    return Lines(*drawn, [(0.0, f"{x[0]:g}"), (1.0, f"{x[-1]:g}")])


def scattered(series: Mapping[str, Series]) -> Lines:
    """Lay series out over a logarithmic axis, each with its own x > 0; an x too near the last is not named."""
    drawn = _laid_out(series, math.log)
    everything = sorted({value for one in series.values() for value in one.x})
    place = _placing([math.log(value) for value in everything])
    ticks: list[tuple[float, str]] = []
    for value in everything:
        if not ticks or place(math.log(value)) - ticks[-1][0] >= LEAST_GAP:
            ticks.append((place(math.log(value)), f"{value:.3g}"))
    return Lines(*drawn, ticks)


def _placing(ends: Sequence[float]) -> Callable[[float], float]:
    low, high = min(ends), max(ends)
    return lambda value: round((value - low) / ((high - low) or 1.0), 4)


def _laid_out(series: Mapping[str, Series], scale: Callable[[float], float]) -> tuple[list[Line], float, float]:
    across = _placing([scale(value) for one in series.values() for value in one.x])
    heights = [
        value for one in series.values() for value in (*one.values, *(end for side in one.band or () for end in side))
    ]
    up = _placing(heights)

    def points(one: Series, values: Sequence[float]) -> list[tuple[float, float]]:
        return [(across(scale(x)), up(value)) for x, value in zip(one.x, values, strict=True)]

    def band(one: Series) -> list[tuple[float, float]]:
        return [*points(one, one.band[0]), *reversed(points(one, one.band[1]))] if one.band else []

    drawn = [Line(name, points(one, one.values), band(one)) for name, one in series.items()]
    return drawn, float(min(heights)), float(max(heights))
