"""From image sets to the report's figures: distances and scores at equal N, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irgen import progress, seeds
from irgen.metrics import bootstrap
from irgen.metrics.frechet import F64, Distances
from irgen.report.sets import ImageSet
from irgen.settings import ReportSettings

FLOOR, REAL, GRAYSCALE, UNGUIDED, GUIDED, WORST = "floor", "real", "grayscale", "unguided", "guided", "worst"
SEARCHED = (UNGUIDED, GUIDED, WORST)
"""Sets of the same prompts in the same order; they are resampled together."""

Extract = Callable[[ImageSet], F64]
Score = Callable[[ImageSet], F64]
Draws = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        figures: JSON-able; the same on every machine up to rounding.
        scores: IRSCORE of every image, float64 [N], by set.
    """

    figures: dict[str, Any]
    scores: dict[str, F64]


def measure(sets: Mapping[str, ImageSet], extract: Extract, score: Score, settings: ReportSettings) -> Measured:
    """Measure image sets of equal length.

    Args:
        sets: `real` (the reference: real test frames), `floor` (real train frames), `unguided`, `guided`, and where
            there are such images `grayscale` and `worst`.
        extract: a set's features [N, d].
        score: the verifier's score of each of a set's images against its own caption, [N].
        settings: `bootstrap` and `seed`.
    """
    features = {name: extract(images) for name, images in sets.items()}
    scores = {name: score(images) for name, images in sets.items() if name != FLOOR}
    everything: Draws = {name: np.arange(len(images)) for name, images in sets.items()}
    n, dimensions = features[REAL].shape
    distances = Distances(features.pop(REAL), features)
    estimate = _figures(distances, scores, everything)
    draws = []
    with progress.bar("intervals", settings.bootstrap) as advance:
        for number in range(settings.bootstrap):
            rng = seeds.generator(settings.seed, number, "report/bootstrap")
            draws.append(_figures(distances, scores, _draw(sets, rng)))
            advance(1)
    intervals = {
        group: {name: bootstrap.interval(value, [draw[group][name] for draw in draws]) for name, value in part.items()}
        for group, part in estimate.items()
        if draws
    }
    figures = {**estimate, "n": n, "dimensions": dimensions, "intervals": intervals}
    for group in ("fid", "irscore"):
        figures[group].setdefault(GRAYSCALE, None)
    return Measured(figures, scores)


def _draw(sets: Mapping[str, ImageSet], rng: np.random.Generator) -> Draws:
    generated = bootstrap.resample(sets[GUIDED].groups, rng)
    return {
        name: generated if name in SEARCHED else bootstrap.resample(images.groups, rng) for name, images in sets.items()
    }


def _figures(distances: Distances, scores: Mapping[str, F64], rows: Draws) -> dict[str, dict[str, float]]:
    """Return distances, mean scores and what guidance gained (positive is better), for the given rows."""
    fid = distances.at(rows[REAL], {name: drawn for name, drawn in rows.items() if name != REAL})
    irscore = {name: float(values[rows[name]].mean()) for name, values in scores.items()}
    gain = {"fid": fid[UNGUIDED] - fid[GUIDED], "irscore": irscore[GUIDED] - irscore[UNGUIDED]}
    return {"fid": fid, "irscore": irscore, "gain": gain}


def search_figures(candidates: pd.DataFrame) -> dict[str, Any]:
    """Summarise the candidates of a search.

    Args:
        candidates: a row each: key, attempt, candidate (order of rendering), score (NaN where dead), nfe, dead, kept.

    Returns:
        images: kept ones; nfe_per_image: forwards spent on a key, failed attempts included; search.best_of: mean over
        keys of the best score among the first 1, 2, ... candidates; search.lowest: mean of the worst; search.dead: how
        many candidates died, by reason.
    """
    alive = candidates[candidates["score"].notna()].sort_values(["key", "attempt", "candidate"])
    by_key = alive.groupby("key")["score"]
    running = alive.assign(best=by_key.cummax(), order=by_key.cumcount()).pivot(
        index="key", columns="order", values="best"
    )
    dead = candidates.loc[candidates["dead"] != "", "dead"].value_counts()
    return {
        "images": int(candidates["kept"].sum()),
        "nfe_per_image": float(candidates.groupby("key")["nfe"].sum().mean()),
        "search": {
            # A key with fewer live candidates keeps its best for the rest of the curve.
            "best_of": running.ffill(axis=1).mean().tolist(),
            "lowest": float(by_key.min().mean()),
            "dead": {str(reason): int(count) for reason, count in sorted(dead.items())},
        },
    }
