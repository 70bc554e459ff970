"""From the stages' outputs to `report.json`, `figures.parquet` and `index.html`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files, shards, store
from irgen.lineage import ancestors
from irgen.records import Frame, Reject, read_rows
from irgen.report import alarm, budgets, codecs, labelled, page, sets
from irgen.report.alarm import Point
from irgen.report.looking import IRSCORE, SCORE, Judges, Seen, look
from irgen.report.measure import (
    FLOOR,
    GRAYSCALE,
    GUIDED,
    IMAGES,
    REAL,
    UNGUIDED,
    Measured,
    key_figures,
    measure,
    search_figures,
)
from irgen.report.sets import Equal, ImageSet
from irgen.settings import ReportSettings, verifiers_of
from irgen.sources import root_of
from irgen.verifiers import calibration

EXTREMES = 6
"""Images with the highest and the lowest scores that the page shows."""

FIGURES = "figures.parquet"


@dataclass(frozen=True)
class Inputs:
    """The output folders that a report reads."""

    frames: Path
    captions: Path
    negatives: Path
    verifier: Path
    samples: Path
    shards: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.frames, self.captions, self.negatives, self.verifier, self.samples, self.shards)

    @property
    def dataset(self) -> Path:
        """The dataset's folder, which holds all stages."""
        return self.samples.parent.parent


def build(settings: ReportSettings, inputs: Inputs, out: Path, judges: Judges) -> dict[str, Any]:
    """Measure, write the three files into `out`, and return the figures.

    Args:
        settings: N, budgets, resamplings, grid, seed.
        inputs: output folders.
        out: where to write.
        judges: who looks at the images.

    Raises:
        SourceError: too few real frames.
        StoreError: fewer than two images were generated.
        SettingsError: budgets that this search has not within.
    """
    started = time.monotonic()
    points = budgets.points(inputs.samples, settings.budgets)
    guide = verifiers_of(budgets.settings_of(inputs.samples).guide)
    chosen, trained, coding = _sets(settings, inputs, points)
    seen = {name: look(judges, one, name != FLOOR) for name, one in chosen.sets.items()}
    if guide != (IRSCORE,):
        for name, scores in budgets.guide_scores(inputs.samples, chosen.sets[GUIDED].keys, points).items():
            seen[name].values[SCORE] = scores
    # Of what was learnt features alone are wanted; realism takes longest.
    learnt = look(replace(judges, realism=None), trained, captioned=False).features
    measured = measure(chosen.sets, seen, judges.independent, learnt, settings)
    candidates = shards.candidates(inputs.samples)
    figures = {
        **_measured_figures(measured, chosen, points, guide),
        "guide": list(guide),
        "feature_size_px": list(judges.nets[0].size_px),
        "resamplings": settings.bootstrap,
        "compression": coding,
        "verifier_auc": _verifier_auc(inputs.verifier),
        "verifier_test_auc": _test_auc(seen),
        "labels": _labels(inputs, chosen, settings),
        "tombstones": _tombstones(inputs.samples),
        **search_figures(candidates),
    }
    files.write_json(out / "report.json", figures)
    with files.placed(out / FIGURES) as temporary:
        pq.write_table(pa.Table.from_pandas(measured.table(), preserve_index=False), temporary, compression="zstd")
    content = page.Content(
        dataset=inputs.dataset.name,
        figures=figures,
        seen=seen,
        candidates=candidates,
        grid=list(_grid(inputs, chosen.sets, settings.grid_images)),
        extremes=_extremes(inputs, chosen.sets, seen[GUIDED].values[IRSCORE]),
        rejects=_rejects(inputs.frames),
        ancestors=ancestors(inputs.folders, inputs.dataset),
        seconds=time.monotonic() - started,
    )
    files.write_bytes(out / "index.html", page.render(content).encode())
    return figures


def _sets(settings: ReportSettings, inputs: Inputs, points: list[Point]) -> tuple[Equal, ImageSet, str]:
    """Return the sets to compare, of equal size and mix, what the adapter learnt, and how all were coded alike."""
    frames = [row for row in read_rows(inputs.frames / "frames.parquet", Frame) if row.lwir]
    kept_format = budgets.settings_of(inputs.samples).image_format
    matched = codecs.matched(frames, root_of(inputs.frames), kept_format)
    made = sets.generated_sets(inputs.samples, inputs.captions, inputs.frames, matched)
    between = budgets.sets_of(inputs.samples, inputs.dataset, made[GUIDED], made[UNGUIDED], points, matched.contrasts)
    made |= {one.name: one for one in between}
    real = sets.frame_sets(inputs.frames, inputs.captions, matched.real)
    equal = sets.equalised({**real, **made}, list(made), settings.images, settings.seed)
    return equal, sets.trained_set(inputs.frames, inputs.captions, matched.real), matched.words


def _measured_figures(measured: Measured, chosen: Equal, points: list[Point], guide: tuple[str, ...]) -> dict[str, Any]:
    """Return what was measured on the sets, and what they are."""
    return {
        **key_figures(measured),
        "n": measured.n,
        "dimensions": measured.seen[REAL].features[measured.net].shape[1],
        "feature_net": measured.net,
        "resampled": _resampled(chosen.sets[REAL]),
        "mix": chosen.mix,
        "mixes": {name: dict(sorted(Counter(one.times).items())) for name, one in chosen.sets.items()},
        "judges": {net: _judge(measured, net, independent) for net, independent in measured.nets.items()},
        "images_figures": _by_metric(measured, IMAGES),
        "changes": _changes(measured),
        "curve": _curve(measured, points),
        "alarm": alarm.alarm(measured, points, guide).document(),
    }


def _test_auc(seen: Mapping[str, Seen]) -> dict[str, float]:
    """Return how often the verifier scores a real test frame over an image of each other set."""
    real = seen[REAL].values[IRSCORE]
    return {
        f"test {name}": calibration.auc(real, one.values[IRSCORE])
        for name, one in seen.items()
        if name not in (REAL, FLOOR)
    }


def _judge(measured: Measured, net: str, independent: bool) -> dict[str, Any]:
    dimensions = measured.seen[REAL].features[net].shape[1]
    return {"independent": independent, "dimensions": dimensions, "figures": _by_metric(measured, net)}


def _by_metric(measured: Measured, judge: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return a judge's figures by metric and set."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for each, metric, name in measured.values:
        if each == judge:
            found.setdefault(metric, {})[name] = measured.figure(judge, metric, name).document()
    return found


def _changes(measured: Measured) -> dict[str, dict[str, dict[str, float]]]:
    """Return, by judge and metric, how much larger a figure is of guided images than of unguided ones."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for judge, metric, name in measured.values:
        if name == GUIDED:
            found.setdefault(judge, {})[metric] = measured.change(judge, metric, GUIDED, UNGUIDED).document()
    return found


def _curve(measured: Measured, points: list[Point]) -> list[dict[str, Any]]:
    """Return every figure of every budget: judge, metric, candidates, nfe, value, low, high."""
    keys = [(judge, metric) for judge, metric, name in measured.values if name == UNGUIDED]
    return [
        {
            "judge": judge,
            "metric": metric,
            "candidates": point.candidates,
            "nfe": point.nfe,
            **measured.figure(judge, metric, point.images).document(),
        }
        for judge, metric in keys
        for point in points
    ]


def _labels(inputs: Inputs, chosen: Equal, settings: ReportSettings) -> dict[str, Any]:
    found = labelled.figures(inputs.shards)
    if found["mode"] == "none":
        return found
    frames = {row.id: row for row in read_rows(inputs.frames / "frames.parquet", Frame)}
    real, kept = chosen.sets[REAL], chosen.sets[GUIDED]
    rows = labelled.contrasts(frames, real, kept, inputs.shards, resamplings=settings.bootstrap, seed=settings.seed)
    return {**found, "contrast": rows}


def _grid(inputs: Inputs, chosen: Mapping[str, ImageSet], count: int) -> Iterator[page.Comparison]:
    """Yield comparisons for prompts spread evenly over the chosen ones."""
    rows = np.unique(np.linspace(0, len(chosen[GUIDED]) - 1, min(count, len(chosen[GUIDED]))).round().astype(int))
    unguided, guided = chosen[UNGUIDED].take(rows.tolist()), chosen[GUIDED].take(rows.tolist())
    sheets = sets.score_sheets(inputs.samples, guided.keys)
    root, frames = root_of(inputs.frames), {row.id: row for row in read_rows(inputs.frames / "frames.parquet", Frame)}
    for key, caption, before, after in zip(guided.keys, guided.captions, unguided, guided, strict=True):
        sheet = sheets[key]
        frame = frames[sheet["frame_id"]]
        yield page.Comparison(
            caption,
            (
                page.Picture(REAL, sets.lwir(frame, root) if frame.lwir else None),
                page.Picture(GRAYSCALE, sets.grayscale(frame, root) if frame.visible else None),
                page.Picture(UNGUIDED, before, f"score {sheet['unguided_score']:.3f}"),
                page.Picture(GUIDED, after, f"score {sheet['score']:.3f}", {"key": key, **sheet}),
            ),
        )


def _extremes(inputs: Inputs, chosen: Mapping[str, ImageSet], scores: np.ndarray) -> dict[str, list[page.Comparison]]:
    """Return the kept images that the verifier likes best and least."""
    order, guided = np.argsort(-scores, kind="stable"), chosen[GUIDED]
    count = min(EXTREMES, len(order) // 2)
    found = {}
    for name, ranked in (("best", order[:count]), ("worst", order[::-1][:count])):
        # Read in the order of the keys, as the shards lie, and shown in that of the scores.
        rows = sorted(ranked.tolist())
        taken = guided.take(rows)
        sheets = sets.score_sheets(inputs.samples, taken.keys)
        pictures = {
            row: page.Picture(GUIDED, image, f"IRSCORE {scores[row]:.3f}", {"key": key, **sheets[key]})
            for row, key, image in zip(rows, taken.keys, taken, strict=True)
        }
        found[name] = [page.Comparison(guided.captions[row], (pictures[row],)) for row in ranked.tolist()]
    return found


def _resampled(reference: ImageSet) -> str:
    if reference.by_video:
        return f"{len(set(reference.videos))} whole videos of real frames and of single generated images"
    return "single images (too few videos to resample them whole, so true intervals are wider)"


def _verifier_auc(verifier: Path) -> dict[str, float]:
    auc = store.read_manifest(verifier)["figures"]["auc"]
    return {str(kind): float(value) for kind, value in auc.items()}


def _rejects(frames: Path) -> dict[str, int]:
    return dict(sorted(Counter(row.reason for row in read_rows(frames / "rejects.parquet", Reject)).items()))


def _tombstones(samples: Path) -> dict[str, int]:
    """Return how many images could not be made, by reason."""
    meta = shards.table(samples)
    return {
        str(reason): int(count) for reason, count in meta.loc[meta["status"] != "ok", "reason"].value_counts().items()
    }
