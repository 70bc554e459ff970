"""A study's page: a table with intervals, what each arm gains, and AP50 against the share of real frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from irgen.report.charts import Series, scattered
from irgen.report.page import environment

HUES = ("real", "grayscale", "unguided", "guided", "good", "inverted", "worst", "between")
TITLES = {"ap50": "AP50 ↑", "ap": "AP ↑", "miss_rate": "Miss rate ↓"}


def render(document: Mapping[str, Any]) -> str:
    """Return the HTML of what `study.run` returns."""
    arms = dict.fromkeys(row["arm"] for row in document["cells"])
    hues = {arm: HUES[place % len(HUES)] for place, arm in enumerate(arms)}
    return (
        environment()
        .get_template("downstream.html")
        .render(study=document, titles=TITLES, hues=hues, chart=_chart(document), text=figure)
    )


def figure(cell: Mapping[str, Any] | None) -> str:
    """Return a figure in per cent with its interval, or that there is none."""
    if cell is None:
        return "none"
    low, high = cell["ci95"]
    return f"{cell['value']:.1f} [{low:.1f}, {high:.1f}]"


def _chart(document: Mapping[str, Any]) -> Any:
    """Lay out AP50 against the real frames' number; none where there is one size alone."""
    frames = document["pools"]["real train"]["images"]
    series = {}
    for arm in dict.fromkeys(row["arm"] for row in document["cells"]):
        own = [row for row in document["cells"] if row["arm"] == arm and row["share"] and row["ap50"]]
        if len(own) > 1:
            ends = [row["ap50"]["ci95"] for row in own]
            series[arm] = Series(
                [max(1, round(frames * row["share"])) for row in own],
                [row["ap50"]["value"] for row in own],
                ([low for low, _ in ends], [high for _, high in ends]),
            )
    return scattered(series) if series else None
