"""From what was seen of image sets to the report's figures: each at equal N, each with its interval."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irgen import progress, seeds
from irgen.errors import IrgenError
from irgen.metrics import bootstrap, copying, diversity, pixels
from irgen.metrics.frechet import F64, Distances, checked
from irgen.metrics.kernel import Kernels
from irgen.metrics.manifold import Neighbourhoods
from irgen.report.looking import IRSCORE, Seen
from irgen.report.sets import ImageSet
from irgen.settings import ReportSettings

FLOOR, REAL, UNGUIDED, GUIDED, WORST = "floor", "real", "unguided", "guided", "worst"
GRAYSCALE, INVERTED = "grayscale", "inverted"
BASELINES = (GRAYSCALE, INVERTED)
IMAGES = "images"
"""The judge of figures that are means over single images, or of grey levels."""

LEAST_NEIGHBOURS = 32
"""With fewer images the balls of precision and recall are mostly chance, and are left out."""

Rows = NDArray[np.int64]
Draws = Mapping[str, Rows]
Key = tuple[str, str, str]
"""Judge, metric, set."""


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval, None where nothing was resampled."""

    value: float
    interval: tuple[float, float] | None

    def document(self) -> dict[str, float]:
        """Return it JSON-able."""
        ends = {"low": self.interval[0], "high": self.interval[1]} if self.interval else {}
        return {"value": self.value, **ends}


@dataclass(frozen=True)
class Measured:
    """All figures of a report.

    Attributes:
        n: images on each side of every comparison.
        nets: whether each net is independent of the verifier, by name; the first one is the report's own.
        values: by judge, metric and set.
        draws: the same of every resample.
        seen: of each set, what was measured of its images.
    """

    n: int
    nets: Mapping[str, bool]
    values: Mapping[Key, float]
    draws: Mapping[Key, F64]
    seen: Mapping[str, Seen]

    @property
    def net(self) -> str:
        """The first net's name."""
        return next(iter(self.nets))

    def has(self, judge: str, metric: str, images: str) -> bool:
        """Whether there is such a figure."""
        return (judge, metric, images) in self.values

    def figure(self, judge: str, metric: str, images: str) -> Figure:
        """Return a figure with its interval."""
        key = (judge, metric, images)
        return self._figure(self.values[key], self.draws.get(key))

    def change(self, judge: str, metric: str, after: str, before: str) -> Figure:
        """Return how much larger a figure is of one set than of another, resampled together."""
        one, other = (judge, metric, after), (judge, metric, before)
        draws = self.draws[one] - self.draws[other] if one in self.draws else None
        return self._figure(self.values[one] - self.values[other], draws)

    def table(self) -> pd.DataFrame:
        """Return all figures, a row each: judge, metric, images, n, value, low, high (NaN without an interval)."""
        rows = []
        for judge, metric, images in self.values:
            figure = self.figure(judge, metric, images)
            low, high = figure.interval or (float("nan"), float("nan"))
            rows.append((judge, metric, images, self.n, figure.value, low, high))
        return pd.DataFrame(rows, columns=["judge", "metric", "images", "n", "value", "low", "high"])

    @staticmethod
    def _figure(value: float, draws: F64 | None) -> Figure:
        if draws is None or not np.isfinite(draws).any():
            return Figure(value, None)
        low, high = bootstrap.interval(value, draws[np.isfinite(draws)].tolist())
        return Figure(value, (low, high))


class _Panel:
    """One net's view of all sets, of which the figures of any resample are taken."""

    def __init__(self, features: Mapping[str, F64], trained: F64) -> None:
        real = checked(features[REAL])
        others = {name: checked(rows) for name, rows in features.items() if name != REAL}
        self._distances = Distances(real, others)
        self._kernels = {name: Kernels(real, rows) for name, rows in others.items()}
        self._balls = {name: Neighbourhoods(real, rows) for name, rows in others.items()}
        self._features = {REAL: real, **others}
        self._nearest = {
            name: copying.nearest(rows, trained).distance for name, rows in self._features.items() if name != FLOOR
        }

    def at(self, rows: Draws, diverse: bool) -> dict[tuple[str, str], float]:
        """Return figures by metric and set; `diverse`: also how many different images there are, the dearest one."""
        others = [name for name in rows if name != REAL]
        distances = self._distances.at(rows[REAL], {name: rows[name] for name in others})
        found = {("frechet", name): value for name, value in distances.items()}
        for name in others:
            found["kernel", name] = self._kernel(name, rows)
            if len(rows[REAL]) >= LEAST_NEIGHBOURS:
                found |= self._manifold(name, rows)
            if name != FLOOR:
                made, held_out = self._nearest[name][rows[name]], self._nearest[REAL][rows[REAL]]
                found["copying", name] = copying.nearer(made, held_out)
        if diverse:
            found |= {
                ("vendi", name): diversity.vendi_score(self._features[name][drawn]) for name, drawn in rows.items()
            }
        return found

    def _kernel(self, name: str, rows: Draws) -> float:
        try:
            return self._kernels[name].distance(rows[REAL], rows[name])
        except IrgenError:
            # A resample of few images may hold too few different ones; it then says nothing.
            if len(np.unique(rows[REAL])) == len(rows[REAL]) and len(np.unique(rows[name])) == len(rows[name]):
                raise
            return float("nan")

    def _manifold(self, name: str, rows: Draws) -> dict[tuple[str, str], float]:
        try:
            figures = self._balls[name].manifold(rows[REAL], rows[name])._asdict()
        except IrgenError:
            # A resample of few videos may have too few different frames; it then says nothing.
            figures = dict.fromkeys(("precision", "recall", "density", "coverage"), float("nan"))
        return {(metric, name): value for metric, value in figures.items()}


def measure(
    sets: Mapping[str, ImageSet],
    seen: Mapping[str, Seen],
    nets: Mapping[str, bool],
    trained: Mapping[str, F64],
    settings: ReportSettings,
) -> Measured:
    """Measure image sets of equal length.

    Args:
        sets: `real` (the reference: real test frames), `floor` (real train frames), generated ones (`unguided`,
            `guided`, ..., all without videos and of the same prompts), and baselines.
        seen: what was measured of each.
        nets: of the features, whether they are independent of the verifier; the first are the report's own.
        trained: features of all frames that the adapter learnt, by net: what there is to copy.
        settings: `bootstrap` and `seed`.

    Raises:
        IrgenError: sets of unequal size.
    """
    counts = {name: len(one) for name, one in sets.items()}
    if len(set(counts.values())) != 1:
        raise IrgenError(
            f"sets of unequal size: {', '.join(f'{name} {count}' for name, count in counts.items())}",
            f"Figures at unequal N do not compare: take {min(counts.values())} of each.",
        )
    panels = {net: _Panel({name: one.features[net] for name, one in seen.items()}, trained[net]) for net in nets}
    own = next(iter(nets))

    def figures(rows: Draws) -> dict[Key, float]:
        found: dict[Key, float] = {}
        for net, panel in panels.items():
            found |= {(net, metric, name): value for (metric, name), value in panel.at(rows, net == own).items()}
        return found | _of_images(seen, rows)

    values = figures({name: np.arange(count) for name, count in counts.items()})
    draws: dict[Key, F64] = {}
    with progress.bar("intervals", settings.bootstrap) as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = []
        for one in pool.map(lambda number: figures(_draw(sets, settings.seed, number)), range(settings.bootstrap)):
            drawn.append(one)
            advance(1)
    if drawn:
        draws = {key: np.array([one[key] for one in drawn]) for key in values}
    return Measured(len(sets[REAL]), nets, values, draws, seen)


def generated(sets: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return the names of generated sets: all that are neither real nor a baseline."""
    return [name for name in sets if name not in (REAL, FLOOR, *BASELINES)]


def _draw(sets: Mapping[str, ImageSet], seed: int, number: int) -> Draws:
    """Resample: generated sets together, since they are of the same prompts; the others each by itself."""
    rng = seeds.generator(seed, number, "report/bootstrap")
    together = bootstrap.resample(sets[GUIDED].groups, rng)
    made = generated(sets)
    return {name: together if name in made else bootstrap.resample(one.groups, rng) for name, one in sets.items()}


def _of_images(seen: Mapping[str, Seen], rows: Draws) -> dict[Key, float]:
    found: dict[Key, float] = {}
    real = seen[REAL].histograms[rows[REAL]].mean(axis=0)
    for name, one in seen.items():
        drawn = rows[name]
        for quantity, values in one.values.items():
            found[IMAGES, quantity, name] = float(values[drawn].mean())
        if name != REAL:
            distance = pixels.histogram_distance(one.histograms[drawn].mean(axis=0), real)
            found[IMAGES, "histogram_distance", name] = distance
    return found


def key_figures(measured: Measured) -> dict[str, Any]:
    """Return the report's own figures: FID and IRSCORE by set, what guidance gained (positive is better), intervals."""
    groups = {"fid": (measured.net, "frechet"), "irscore": (IMAGES, IRSCORE)}
    figures: dict[str, Any] = {"intervals": {}}
    for group, (judge, metric) in groups.items():
        found = {
            name: measured.figure(judge, metric, name) for name in measured.seen if measured.has(judge, metric, name)
        }
        figures[group] = {name: one.value for name, one in found.items()}
        figures["intervals"][group] = {name: list(one.interval) for name, one in found.items() if one.interval}
        figures[group].setdefault(GRAYSCALE, None)
    gains = {
        "fid": measured.change(measured.net, "frechet", UNGUIDED, GUIDED),
        "irscore": measured.change(IMAGES, IRSCORE, GUIDED, UNGUIDED),
    }
    figures["gain"] = {group: one.value for group, one in gains.items()}
    figures["intervals"]["gain"] = {group: list(one.interval) for group, one in gains.items() if one.interval}
    if not measured.draws:
        figures["intervals"] = {}
    return figures


def search_figures(candidates: pd.DataFrame) -> dict[str, Any]:
    """Summarise the candidates of a search.

    Args:
        candidates: a row each: key, attempt, candidate (order of rendering), score (NaN where dead), nfe, dead, kept.

    Returns:
        images: kept ones; nfe_per_image: forwards spent on a key, failed attempts included; search.best_of: mean over
        keys of the best score among the first 1, 2, ... candidates, and best_of_band: its 95 % interval over keys;
        search.lowest: mean of the worst; search.dead: how many candidates died, by reason.
    """
    alive = candidates[candidates["score"].notna()].sort_values(["key", "attempt", "candidate"])
    by_key = alive.groupby("key")["score"]
    running = alive.assign(best=by_key.cummax(), order=by_key.cumcount()).pivot(
        index="key", columns="order", values="best"
    )
    # A key with fewer live candidates keeps its best for the rest of the curve.
    best = running.ffill(axis=1)
    mean, error = best.mean(), 1.96 * best.std(ddof=1).fillna(0) / np.sqrt(max(1, len(best)))
    dead = candidates.loc[candidates["dead"] != "", "dead"].value_counts()
    return {
        "images": int(candidates["kept"].sum()),
        "nfe_per_image": float(candidates.groupby("key")["nfe"].sum().mean()),
        "search": {
            "best_of": mean.tolist(),
            "best_of_band": [(mean - error).tolist(), (mean + error).tolist()],
            "lowest": float(by_key.min().mean()),
            "dead": {str(reason): int(count) for reason, count in sorted(dead.items())},
        },
    }
