"""From the stages' outputs to `report.json` and `index.html`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from irgen import files, progress, shards, store
from irgen.errors import WeightsError
from irgen.metrics.features import FeatureNet, features
from irgen.metrics.frechet import F64
from irgen.records import Frame, Reject, read_rows
from irgen.report import page, sets
from irgen.report.lineage import ancestors
from irgen.report.measure import GRAYSCALE, GUIDED, REAL, SEARCHED, UNGUIDED, Measured, measure, search_figures
from irgen.report.sets import ImageSet
from irgen.search.interface import Verifier
from irgen.settings import ReportSettings
from irgen.sources import root_of

SCORED_AT_ONCE = 32


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


def build(settings: ReportSettings, inputs: Inputs, out: Path, net: FeatureNet, verifier: Verifier) -> dict[str, Any]:
    """Measure, write both files into `out`, and return the figures.

    Args:
        settings: N, resamplings, grid, seed.
        inputs: output folders.
        out: where to write.
        net: gives the features of the distances.
        verifier: gives IRSCORE.

    Raises:
        SourceError: too few real frames.
        StoreError: fewer than two images were generated.
    """
    started = time.monotonic()
    real = sets.frame_sets(inputs.frames, inputs.captions)
    generated = sets.generated_sets(inputs.samples, inputs.captions)
    chosen = sets.equalised({**real, **generated}, SEARCHED, settings.images, settings.seed)
    measured = measure(chosen, partial(_extract, net), partial(_score, verifier), settings)
    candidates = shards.candidates(inputs.samples)
    figures = {
        **measured.figures,
        "feature_net": net.name,
        "feature_size_px": list(net.size_px),
        "resamplings": settings.bootstrap,
        "resampled": _resampled(chosen[REAL]),
        "verifier_auc": _verifier_auc(inputs.verifier),
        **search_figures(candidates),
    }
    files.write_json(out / "report.json", figures)
    content = page.Content(
        dataset=inputs.dataset.name,
        measured=Measured(figures, measured.scores),
        candidates=candidates,
        grid=list(_grid(inputs, chosen, settings.grid_images)),
        rejects=_rejects(inputs.frames),
        ancestors=ancestors(inputs.folders, inputs.dataset),
        seconds=time.monotonic() - started,
    )
    files.write_bytes(out / "index.html", page.render(content).encode())
    return figures


def _extract(net: FeatureNet, one: ImageSet) -> F64:
    return features(one, net, total=len(one), label=f"features, {one.name}")


def _score(verifier: Verifier, one: ImageSet) -> F64:
    """Score images against their own captions; images of equal size that follow one another go together.

    Raises:
        WeightsError: a score is not finite.
    """
    scores: list[F64] = []
    with progress.bar(f"scores, {one.name}", len(one)) as advance:
        pairs = zip(one, one.captions, strict=True)
        for _, same_size in groupby(pairs, key=lambda pair: pair[0].shape):
            while chunk := list(islice(same_size, SCORED_AT_ONCE)):
                stack, captions = np.stack([image for image, _ in chunk]), [caption for _, caption in chunk]
                scores.append(verifier.score(stack, captions).value)
                advance(len(chunk))
    value = np.concatenate(scores)
    if not np.isfinite(value).all():
        raise WeightsError(
            f"{int((~np.isfinite(value)).sum())} of {len(value)} {one.name} images have an IRSCORE that is not finite",
            "The verifier's weights are damaged: train it again (`--from verifier`).",
        )
    return value


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
                page.Picture(UNGUIDED, before, f"IRSCORE {sheet['unguided_score']:.3f}"),
                page.Picture(GUIDED, after, f"IRSCORE {sheet['score']:.3f}", {"key": key, **sheet}),
            ),
        )


def _resampled(reference: ImageSet) -> str:
    if reference.by_video:
        return f"{len(set(reference.videos))} whole videos of real frames and of single generated images"
    return "single images (too few videos to resample them whole, so true intervals are wider)"


def _verifier_auc(verifier: Path) -> dict[str, float]:
    auc = store.read_manifest(verifier)["figures"]["auc"]
    return {str(kind): float(value) for kind, value in auc.items()}


def _rejects(frames: Path) -> dict[str, int]:
    return dict(sorted(Counter(row.reason for row in read_rows(frames / "rejects.parquet", Reject)).items()))
