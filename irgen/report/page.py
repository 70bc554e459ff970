"""The report as one self-contained HTML page: styles inlined, pictures as data URIs, no script, no request."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from irgen import images
from irgen.lineage import Ancestor
from irgen.metrics.frechet import F64
from irgen.report import charts, plots, words
from irgen.report.looking import IRSCORE, Seen
from irgen.report.measure import FLOOR, GRAYSCALE, GUIDED, INVERTED, REAL, UNGUIDED, WORST
from irgen.report.verdict import number, verdict, warnings

TINY_PX = 200
"""Pictures that are smaller are sent as PNG and enlarged without smoothing; larger ones as JPEG."""

ORDER = (FLOOR, GRAYSCALE, INVERTED, UNGUIDED, GUIDED, WORST)
"""Of the sets in the tables; smaller searches come between unguided and guided."""


@dataclass(frozen=True)
class Picture:
    """One picture of the grid.

    Attributes:
        kind: the set's name.
        image: uint8 [height, width, 3], or None where there is none.
        note: a short line under it.
        sheet: what hovering shows, a line a field.
    """

    kind: str
    image: np.ndarray | None
    note: str = ""
    sheet: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Comparison:
    """Pictures of one caption, side by side."""

    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Content:
    """All that the page shows.

    Attributes:
        dataset: its name.
        figures: as `report.json` has them.
        seen: of each set, what was measured of its images.
        candidates: the search's table: key, score, kept, dead, ...
        grid: comparisons.
        extremes: kept images with the highest and the lowest scores, `best` and `worst`.
        rejects: how many items of the source were not taken, by reason.
        ancestors: the outputs that the report stands on.
        seconds: the report's own time so far.
    """

    dataset: str
    figures: Mapping[str, Any]
    seen: Mapping[str, Seen]
    candidates: pd.DataFrame
    grid: Sequence[Comparison]
    extremes: Mapping[str, Sequence[Comparison]]
    rejects: Mapping[str, int]
    ancestors: Sequence[Ancestor]
    seconds: float


def environment() -> jinja2.Environment:
    """Return what renders the package's pages; everything that comes from data is escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("irgen.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "duration": duration,
        "picture": data_uri,
        "yaml": _yaml,
        "title": words.title_of,
        "hue": hue,
    }
    made.globals |= {"metrics": words.METRICS, "tiny": TINY_PX}
    return made


def render(content: Content) -> str:
    """Return the page's HTML."""
    figures = content.figures
    scores = {name: one.values[IRSCORE] for name, one in content.seen.items() if IRSCORE in one.values}
    shown = [name for name in (REAL, GRAYSCALE, UNGUIDED, GUIDED) if name in scores]
    names = ordered(figures["fid"])
    return (
        environment()
        .get_template("report.html")
        .render(
            content=content,
            figures=figures,
            findings=verdict(figures),
            warnings=warnings(figures),
            tiles=_tiles(figures),
            sets=names,
            whiskers=charts.whiskers(
                {name: figures["fid"][name] for name in names}, figures["intervals"].get("fid", {})
            ),
            spread=[name for name in words.SPREAD if name in figures["judges"][figures["feature_net"]]["figures"]],
            realism=[name for name in figures["images_figures"] if name.startswith("realism")],
            pixels=words.PIXELS,
            meaning=words.meaning_of,
            negatives=words.NEGATIVES,
            curves=plots.curves(figures["curve"], figures["judges"], figures["guide"]),
            levels=plots.levels(content.seen),
            spectra=plots.spectra(content.seen),
            by_set_classes=shown,
            by_set=charts.histograms({words.TITLES[name]: scores[name] for name in shown}),
            by_candidate=charts.histograms(_by_candidate(content.candidates)),
            best_of=plots.best_of(figures["search"]),
            total=sum(one.seconds or 0 for one in content.ancestors) + content.seconds,
        )
    )


def ordered(fid: Mapping[str, float | None]) -> list[str]:
    """Return the sets that have a distance to real frames, baselines first, searches by their budgets."""
    between = sorted((name for name in fid if name not in ORDER), key=lambda name: int(name.rpartition("_")[2]))
    place = ORDER.index(GUIDED)
    return [name for name in (*ORDER[:place], *between, *ORDER[place:]) if fid.get(name) is not None]


def hue(images: str) -> str:
    """Name the colour class of a set."""
    return "between" if images.startswith("best_of_") else images


def data_uri(image_u8: np.ndarray) -> str:
    """Encode a picture for an `src`."""
    form: images.ImageFormat = "png" if max(image_u8.shape[:2]) < TINY_PX else "jpg"
    kind = {"png": "png", "jpg": "jpeg"}[form]
    return f"data:image/{kind};base64,{base64.b64encode(images.encode(image_u8, form)).decode()}"


def duration(seconds: float) -> str:
    """Print a time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@dataclass(frozen=True)
class _Tile:
    """A figure in large print."""

    name: str
    value: str
    small: str
    mood: str


def _tiles(figures: Mapping[str, Any]) -> list[_Tile]:
    """Return the four figures that most readers want: distance, score, recall, cost."""
    fid, score, alarm = figures["fid"], figures["irscore"], figures["alarm"]
    gains = figures["intervals"].get("gain", {})
    tiles = [
        _tile("FID", fid["unguided"], fid["guided"], gains.get("fid"), f"floor {number(fid['floor'])}"),
        _tile("IRSCORE", score["unguided"], score["guided"], gains.get("irscore"), f"real {number(score['real'])}"),
    ]
    own = figures["judges"][figures["feature_net"]]["figures"]
    if "recall" in own:
        change = figures["changes"][figures["feature_net"]]["recall"]
        ends = [change["low"], change["high"]] if "low" in change else None
        floor, before, after = (own["recall"][name]["value"] for name in (FLOOR, UNGUIDED, GUIDED))
        tiles.append(_tile("Recall", before, after, ends, f"floor {number(floor)}"))
    tiles.append(
        _Tile(
            "Alarm",
            "rings" if alarm["rings"] else "silent",
            f"stop at {alarm['stop_at_nfe']:g} NFE" if alarm["rings"] else f"up to {alarm['stop_at_nfe']:g} NFE",
            "bad" if alarm["rings"] else "good",
        )
    )
    return tiles


def _tile(name: str, before: float, after: float, gain: Sequence[float] | None, small: str) -> _Tile:
    mood = "open" if gain is None or gain[0] <= 0 <= gain[1] else "good" if gain[0] > 0 else "bad"
    return _Tile(name, f"{number(before)} → {number(after)}", small, mood)


def _by_candidate(candidates: pd.DataFrame) -> dict[str, F64]:
    alive = candidates[candidates["score"].notna()]
    chosen = {
        "All": alive["score"],
        "Kept": alive.loc[alive["kept"], "score"],
        "Lowest": alive.groupby("key")["score"].min(),
    }
    return {name: scores.to_numpy(np.float64) for name, scores in chosen.items()}


def _yaml(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100).strip()
