"""All that is measured of single images, in one pass over each set: features by net, scores, grey levels, spectra."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Protocol, runtime_checkable

import numpy as np

from irgen import progress
from irgen.errors import WeightsError
from irgen.metrics import features, pixels
from irgen.metrics.features import FeatureNet
from irgen.metrics.frechet import F64
from irgen.report.sets import U8, ImageSet
from irgen.search.interface import Scores, Verifier
from irgen.verifiers import lwir_statistics
from irgen.verifiers.realism import Realism

IRSCORE, REALISM, SCORE = "irscore", "realism", "score"
VERIFIER_NET = "verifier"
"""The verifier's own image features: what it was pleased by, so no independent judge."""


@dataclass(frozen=True)
class Seen:
    """What was measured of one set, a row an image.

    Attributes:
        features: by net, float64 [N, d].
        values: by quantity, float64 [N]: irscore, realism and its aspects, brightness, contrast, saturated, colour;
            score, under the search's guide, where that is not IRSCORE.
        histograms: shares of grey levels, float64 [N, 256].
        spectra: radial power spectra, float64 [N, 12], log10 of shares.
    """

    features: dict[str, F64]
    values: dict[str, F64]
    histograms: F64
    spectra: F64


@runtime_checkable
class Feeling(Verifier, Protocol):
    """A verifier whose image features can be had beside its scores."""

    def judge(self, images: np.ndarray, captions: Sequence[str]) -> tuple[Scores, np.ndarray]:
        """Return scores of uint8 [B, H, W, 3], and features float64 [B, d]."""
        ...


@dataclass(frozen=True)
class Judges:
    """Who looks at the images.

    Attributes:
        nets: feature nets; the first one's figures are the report's key figures.
        verifier: gives IRSCORE.
        realism: statistics of real frames, None where there were too few to learn them.
        own_features: whether the verifier's own features are a further net.
    """

    nets: Sequence[FeatureNet]
    verifier: Verifier
    realism: Realism | None = None
    own_features: bool = True

    @property
    def independent(self) -> dict[str, bool]:
        """Whether each net is of another family than the verifier, by name."""
        own = {VERIFIER_NET: False} if self.feels else {}
        return {net.name: net.independent for net in self.nets} | own

    @property
    def feels(self) -> bool:
        """Whether there are features of the verifier's own."""
        return self.own_features and isinstance(self.verifier, Feeling)


def look(judges: Judges, one: ImageSet, captioned: bool) -> Seen:
    """Measure every image of a set.

    Args:
        judges: who looks.
        one: the images; all sizes may be mixed.
        captioned: whether they have captions to be scored against.

    Raises:
        WeightsError: a score is not finite.
        IrgenError: a feature is not finite.
    """
    found: dict[str, list[F64]] = defaultdict(list)
    shown: dict[str, list[F64]] = defaultdict(list)
    pairs = zip(one, one.captions, strict=True)
    with progress.bar(f"measuring {one.name}", len(one)) as advance, ThreadPoolExecutor(1) as beside:
        while chunk := list(islice(pairs, features.BATCH)):
            images, captions = [image for image, _ in chunk], [caption for _, caption in chunk]
            measured = beside.submit(_pixels, judges.realism, images)
            for net in judges.nets:
                shown[net.name].append(features.forward(net, images))
            if captioned or judges.feels:
                _scores(judges, images, captions, captioned, found, shown)
            for name, rows in measured.result().items():
                found[name].append(rows)
            advance(len(chunk))
    values = {name: np.concatenate(parts) for name, parts in found.items()}
    _check(values, one.name)
    return Seen(
        {name: np.concatenate(parts) for name, parts in shown.items()},
        {name: part for name, part in values.items() if part.ndim == 1},
        values["histograms"],
        values["spectra"],
    )


def _scores(
    judges: Judges,
    images: Sequence[U8],
    captions: Sequence[str],
    captioned: bool,
    found: dict[str, list[F64]],
    shown: dict[str, list[F64]],
) -> None:
    for stack, words in _of_one_size(images, captions):
        if judges.feels and isinstance(judges.verifier, Feeling):
            scores, own = judges.verifier.judge(stack, words)
            shown[VERIFIER_NET].append(own)
        else:
            scores = judges.verifier.score(stack, words)
        if captioned:
            found[IRSCORE].append(scores.value)


def _of_one_size(images: Sequence[U8], captions: Sequence[str]) -> Iterator[tuple[np.ndarray, list[str]]]:
    for _, group in groupby(zip(images, captions, strict=True), key=lambda pair: pair[0].shape):
        members = list(group)
        yield np.stack([image for image, _ in members]), [caption for _, caption in members]


def _pixels(realism: Realism | None, images: Sequence[U8]) -> dict[str, F64]:
    rows = [pixels.pixels(image) for image in images]
    found = {name: np.array([getattr(row, name) for row in rows]) for name in pixels.Pixels._fields}
    found["histograms"] = np.stack([pixels.histogram(image) for image in images])
    found["spectra"] = np.stack([lwir_statistics.spectrum(pixels.luma(image) / 255) for image in images])
    if realism:
        scores = [realism.score(image[None], [""]) for image in images]
        found[REALISM] = np.concatenate([one.value for one in scores])
        for name in scores[0].parts:
            found[name] = np.concatenate([one.parts[name] for one in scores])
    return found


def _check(values: dict[str, F64], name: str) -> None:
    bad = ~np.isfinite(values.get(IRSCORE, np.zeros(1)))
    if bad.any():
        raise WeightsError(
            f"{int(bad.sum())} of {len(bad)} {name} images have an IRSCORE that is not finite",
            "The verifier's weights are damaged: train it again (`--from verifier`).",
        )
