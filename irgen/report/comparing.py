"""Two finished datasets side by side, figure by figure; never at unequal N."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from irgen import files, store
from irgen.errors import SettingsError, StoreError
from irgen.report.measure import GUIDED, IMAGES
from irgen.report.page import environment
from irgen.report.verdict import number
from irgen.report.words import METRICS


def compare(a: Path, b: Path) -> dict[str, Any]:
    """Compare the kept images of two datasets by the figures of their newest reports.

    Args:
        a: a dataset's folder, or one output of its stage report.
        b: another.

    Returns:
        n, names and figures: rows of judge, metric, a, b (value, low, high each) and better ("a", "b" or "": their
        intervals overlap, or neither way is better).

    Raises:
        StoreError: one has no finished report.
        SettingsError: the reports are of unequal N or of other feature nets, coding or mixes of day and night.
    """
    names, reports = [_name(path) for path in (a, b)], [_report(path) for path in (a, b)]
    _comparable(names, reports)
    rows = []
    for judge, metric in _figures(reports[0]):
        one, other = (_figure(report, judge, metric) for report in reports)
        if one and other:
            rows.append({"judge": judge, "metric": metric, "a": one, "b": other, "better": _better(metric, one, other)})
    return {"names": names, "n": reports[0]["n"], "figures": rows}


def write(compared: Mapping[str, Any], path: Path) -> None:
    """Write a comparison as a page."""
    html = environment().get_template("compare.html").render(compared=compared)
    files.write_bytes(path, html.encode())


def table(compared: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a comparison as rows for a terminal."""
    rows = [("judge", "figure", *compared["names"], "better")]
    for row in compared["figures"]:
        kind = METRICS[row["metric"]]
        winner = {"a": compared["names"][0], "b": compared["names"][1], "": "-"}[row["better"]]
        rows.append((row["judge"], kind.title + kind.arrow, _spelled(row["a"]), _spelled(row["b"]), winner))
    return rows


def _spelled(figure: Mapping[str, float]) -> str:
    ends = f" [{number(figure['low'])}, {number(figure['high'])}]" if "low" in figure else ""
    return number(figure["value"]) + ends


def _name(path: Path) -> str:
    folder = path.absolute()
    return folder.parent.parent.name if (folder / store.MANIFEST).exists() else folder.name


def _report(path: Path) -> dict[str, Any]:
    if (path / store.MANIFEST).exists():
        folder = path
    else:
        latest = next((found for one in sorted(path.glob("*-report")) if (found := store.latest(one))), None)
        if latest is None:
            raise StoreError(f"{path}: has no finished report", "Name a dataset whose run has ended: data/miniature.")
        folder = latest.folder
    if store.read_manifest(folder)["stage"] != "report":
        raise StoreError(f"{folder}: is no report", "Name a dataset, or an output of its stage report.")
    document: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return document


def _comparable(names: list[str], reports: list[dict[str, Any]]) -> None:
    what = {
        "n": "N, and figures at unequal N do not compare",
        "feature_net": "the feature net",
        "compression": "the coding of the images",
        "mix": "the mix of day and night",
    }
    for field, words in what.items():
        values = [report[field] for report in reports]
        if field == "mix":
            values = [_shares(value) for value in values]
        if values[0] != values[1]:
            raise SettingsError(
                f"{names[0]} and {names[1]} differ in {words}: {reports[0][field]} and {reports[1][field]}",
                "Set report.images and report.feature_net alike, and run `irgen run MANIFEST --only report`.",
            )


def _shares(mix: Mapping[str, int]) -> dict[str, float]:
    """Return the mix in tenths: prompts are drawn, so that it is never quite the same."""
    whole = sum(mix.values()) or 1
    return {time: round(count / whole, 1) for time, count in sorted(mix.items())}


def _figures(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    nets = [(net, metric) for net, judge in report["judges"].items() for metric in judge["figures"]]
    return [(IMAGES, metric) for metric in report["images_figures"]] + nets


def _figure(report: Mapping[str, Any], judge: str, metric: str) -> dict[str, float] | None:
    figures = report["images_figures"] if judge == IMAGES else report["judges"].get(judge, {}).get("figures", {})
    found: dict[str, float] | None = figures.get(metric, {}).get(GUIDED)
    return found


def _better(metric: str, one: Mapping[str, float], other: Mapping[str, float]) -> str:
    """Say which is better beyond both intervals, which is stricter than an interval of the difference."""
    way = METRICS[metric].better
    if not way or "low" not in one or "low" not in other:
        return ""
    larger = "a" if one["low"] > other["high"] else "b" if other["low"] > one["high"] else ""
    if way == "larger":
        return larger
    return {"a": "b", "b": "a", "": ""}[larger]
