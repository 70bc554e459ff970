"""Numbers to the coordinates of the page's small charts; the template draws them as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irgen.metrics.frechet import F64

BINS = 48


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
    """Place figures and their intervals (where there are any) on one axis from zero, or from the least below it."""
    spans = {name: tuple(intervals.get(name, (value, value))) for name, value in values.items()}
    ends = [*values.values(), *(end for span in spans.values() for end in span)]
    low, high = min(0.0, *ends), max(*ends, 1e-9)
    place = {name: [round((x - low) / (high - low), 4) for x in (*spans[name], values[name])] for name in values}
    return {name: Whisker(least, value, most) for name, (least, most, value) in place.items()}


@dataclass(frozen=True)
class Curve:
    """A line over 1, 2, ... candidates.

    Attributes:
        points: x and y of each point, 0..1, y upwards.
        low, high: the least and the greatest value.
        count: number of points.
    """

    points: list[tuple[float, float]]
    low: float
    high: float
    count: int


def curve(values: Sequence[float]) -> Curve:
    """Lay a sequence out as a line."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    steps = max(1, len(values) - 1)
    points = [(round(place / steps, 4), round((value - low) / span, 4)) for place, value in enumerate(values)]
    return Curve(points, low, high, len(values))
