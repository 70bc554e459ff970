"""From the reports of a study's runs to figures with intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from irgen.errors import IrgenError
from irgen.metrics.bootstrap import LEVEL
from irgen.metrics.frechet import F64
from irgen.report.alarm import Point, alarm
from irgen.report.looking import IRSCORE
from irgen.report.measure import IMAGES, Figure
from irgen.studies.settings import Run, Study

COLUMNS = ["variant", "seed", "candidates", "nfe", "judge", "metric", "value"]
AUC = "auc"
"""The judge of how well the verifier tells real test frames from others."""
SHARES = ("precision", "recall", "coverage")
"""Metrics that lie, as every AUC does, between 0 and 1."""
OWN_FAMILY = ("verifier", "clip")
"""Feature nets that are not independent of the verifier."""


def rows(runs: Sequence[Run], reports: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return every figure of every run and budget, a row each.

    Args:
        runs: of the study.
        reports: the `report.json` of each.

    Returns:
        variant, seed, candidates and nfe (0 for what does not depend on a budget), judge, metric, value.

    Raises:
        IrgenError: the runs are of unequal N.
    """
    counts = {run.name: report["n"] for run, report in zip(runs, reports, strict=True)}
    if len(set(counts.values())) > 1:
        raise IrgenError(
            f"runs of unequal N: {', '.join(f'{name}: {count}' for name, count in counts.items())}",
            f"Figures at unequal N do not compare: set report.images to {min(counts.values())} or less.",
        )
    found: list[tuple[Any, ...]] = []
    for run, report in zip(runs, reports, strict=True):
        for point in report["curve"]:
            key = (run.variant, run.seed, point["candidates"], point["nfe"])
            found.append((*key, point["judge"], point["metric"], point["value"]))
        for kind, value in {**report["verifier_auc"], **report["verifier_test_auc"]}.items():
            found.append((run.variant, run.seed, 0, 0.0, AUC, kind, value))
    return _lined_up(pd.DataFrame(found, columns=COLUMNS))


def _lined_up(table: pd.DataFrame) -> pd.DataFrame:
    """Give the budgets of a variant's seeds one name: schedules calibrated for each seed end with unlike candidates."""
    for variant, part in table[table["candidates"] > 0].groupby("variant"):
        by_seed = [sorted(own["candidates"].unique()) for _, own in part.groupby("seed")]
        if len({len(own) for own in by_seed}) > 1:
            raise IrgenError(f"{variant}: seeds with unlike numbers of budgets", "Leave report.budgets empty.")
        most = np.max(by_seed, axis=0)
        for (_, own), counts in zip(part.groupby("seed"), by_seed, strict=True):
            table.loc[own.index, "candidates"] = own["candidates"].map(dict(zip(counts, most.tolist(), strict=True)))
    return table


def interval(values: Sequence[float] | F64) -> Figure:
    """Return the mean over seeds and its 95 % interval by Student's t; none of fewer than two."""
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Figure(mean, None)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Figure(mean, (mean - reach, mean + reach))


def _clipped(figure: Figure) -> Figure:
    """Cut an interval to 0 to 1: Student's knows no bounds."""
    return replace(figure, interval=figure.interval and (max(figure.interval[0], 0.0), min(figure.interval[1], 1.0)))


@dataclass(frozen=True)
class OverSeeds:
    """One variant's figures at several budgets, compared seed by seed.

    Attributes:
        nets: whether each net is independent of the verifier.
        values: judge, metric, set -> float64 [seeds].
    """

    nets: Mapping[str, bool]
    values: Mapping[tuple[str, str, str], F64]

    @property
    def net(self) -> str:
        """The first net's name."""
        return next(iter(self.nets))

    def change(self, judge: str, metric: str, after: str, before: str) -> Figure:
        """Return how much larger a figure is at one budget than at another."""
        return interval(self.values[judge, metric, after] - self.values[judge, metric, before])


def summarise(
    study: Study,
    table: pd.DataFrame,
    nets: Mapping[str, bool] | None = None,
    guides: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return means and intervals over seeds, each variant's alarm, and what its search gained.

    Args:
        study: what was asked.
        table: as `rows` gives it.
        nets: whether each net is independent; by default all are but those of the verifier's family.
        guides: by variant, names of the verifiers that led its searches; by default IRSCORE.

    Returns:
        study, question, seeds; figures: rows with variant, candidates, nfe, judge, metric, value, low, high; alarms:
        by variant; nets.
    """
    judges = [str(judge) for judge in dict.fromkeys(table["judge"]) if judge not in (IMAGES, AUC)]
    known = nets or {judge: judge not in OWN_FAMILY for judge in judges}
    found = []
    nfe_of = table.groupby(["variant", "candidates"])["nfe"].mean()  # images that were tried again cost a seed more
    for key, part in table.groupby(["variant", "candidates", "judge", "metric"], sort=False):
        variant, candidates, judge, metric = key
        nfe = float(nfe_of[variant, candidates])
        place = {"variant": variant, "candidates": int(candidates), "nfe": nfe, "judge": judge, "metric": metric}
        figure = interval(part["value"].to_numpy())
        found.append({**place, **(_clipped(figure) if judge == AUC or metric in SHARES else figure).document()})
    by_variant = {variant: _over_seeds(table[table["variant"] == variant], known) for variant in study.variants}
    return {
        "study": study.study,
        "question": study.question,
        "seeds": list(study.seeds),
        "nets": known,
        "figures": found,
        "alarms": {
            name: alarm(figures, points, (guides or {}).get(name, (IRSCORE,))).document()
            for name, (figures, points) in by_variant.items()
        },
        "gains": {name: _gains(figures, points) for name, (figures, points) in by_variant.items()},
    }


def _over_seeds(table: pd.DataFrame, nets: Mapping[str, bool]) -> tuple[OverSeeds, list[Point]]:
    budgets = table[table["candidates"] > 0].groupby("candidates")["nfe"].mean().sort_values()
    points = [Point(str(count), int(count), float(nfe)) for count, nfe in budgets.items()]
    values = {
        (judge, metric, str(candidates)): part.sort_values("seed")["value"].to_numpy()
        for (judge, metric, candidates), part in table.groupby(["judge", "metric", "candidates"])
    }
    return OverSeeds(nets, values), points


def _gains(figures: OverSeeds, points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """Return how much larger IRSCORE and the first net's distance are at the largest budget than without a search."""
    first, last = points[0].images, points[-1].images
    wanted = {"irscore": (IMAGES, IRSCORE), "frechet": (figures.net, "frechet")}
    return {name: figures.change(judge, metric, last, first).document() for name, (judge, metric) in wanted.items()}
