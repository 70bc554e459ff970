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
from irgen.metrics.frechet import F64
from irgen.report import charts
from irgen.report.lineage import Ancestor
from irgen.report.measure import FLOOR, GRAYSCALE, GUIDED, REAL, UNGUIDED, WORST, Measured
from irgen.report.verdict import number, verdict, warnings

TINY_PX = 200
"""Pictures that are smaller are sent as PNG and enlarged without smoothing; larger ones as JPEG."""

TITLES = {
    REAL: "Real",
    FLOOR: "Real (floor)",
    GRAYSCALE: "Grayscale",
    UNGUIDED: "Unguided",
    GUIDED: "Guided",
    WORST: "Lowest score",
}
MEANINGS = {
    FLOOR: "FID of train frames, which no generator should undercut at this N; IRSCORE of test frames, own captions",
    GRAYSCALE: "luma of the visible image of test frames: the baseline to beat",
    UNGUIDED: "the first candidate of each prompt, as without a search",
    GUIDED: "the candidate that the verifier chose",
    WORST: "the candidate that the verifier liked least",
}
NEGATIVES = {
    "gray": "grayscale of the visible image",
    "inverted": "inverted grayscale",
    "agc": "infrared with a wrong gain control",
    "rgb": "the visible image",
    "match": "itself with a shuffled caption (match)",
}


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
        measured: figures and scores.
        candidates: the search's table: key, score, kept, dead, ...
        grid: comparisons.
        rejects: how many items of the source were not taken, by reason.
        ancestors: the outputs that the report stands on.
        seconds: the report's own time so far.
    """

    dataset: str
    measured: Measured
    candidates: pd.DataFrame
    grid: Sequence[Comparison]
    rejects: Mapping[str, int]
    ancestors: Sequence[Ancestor]
    seconds: float


def render(content: Content) -> str:
    """Return the page's HTML. Everything that comes from data is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("irgen.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration, "picture": data_uri, "yaml": _yaml}
    figures, scores = content.measured.figures, content.measured.scores
    order = [name for name in (REAL, GRAYSCALE, UNGUIDED, GUIDED) if name in scores]
    return environment.get_template("report.html").render(
        content=content,
        figures=figures,
        findings=verdict(figures),
        warnings=warnings(figures),
        rows=_rows(figures),
        titles=TITLES,
        negatives=NEGATIVES,
        by_set_classes=order,
        by_set=charts.histograms({TITLES[name]: scores[name] for name in order}),
        by_candidate=charts.histograms(_by_candidate(content.candidates)),
        best_of=charts.curve(figures["search"]["best_of"]),
        tiny=TINY_PX,
        total=sum(one.seconds or 0 for one in content.ancestors) + content.seconds,
    )


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
class _Row:
    """A line of the key-figure table: FID and IRSCORE of one set, each with its interval and its place on an axis."""

    name: str
    title: str
    meaning: str
    fid: float | None
    fid_interval: list[float] | None
    fid_whisker: charts.Whisker | None
    irscore: float | None
    irscore_interval: list[float] | None


def _rows(figures: Mapping[str, Any]) -> list[_Row]:
    fid = {name: value for name, value in figures["fid"].items() if value is not None}
    intervals = figures["intervals"]
    whiskers = charts.whiskers(fid, intervals.get("fid", {}))
    rows = []
    for name in (REAL, GRAYSCALE, UNGUIDED, GUIDED, WORST):
        distance = FLOOR if name == REAL else name
        if name == WORST and WORST not in fid:
            continue
        rows.append(
            _Row(
                name,
                TITLES[distance],
                MEANINGS[distance],
                fid.get(distance),
                intervals.get("fid", {}).get(distance),
                whiskers.get(distance),
                figures["irscore"].get(name),
                intervals.get("irscore", {}).get(name),
            )
        )
    return rows


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
