"""Oracles: verifiers that know the measure by which the set will be judged, FID or IS (arXiv 2501.09732, section 3.1).

They bound what a search could gain, and are no verifiers for a real dataset: what is optimised is no longer measured.
Both are of a *set*: an image's score is the measure of all that was kept so far with that image added, so `keep` must
be called for each image that is taken, and scores depend on what was kept before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from irgen.metrics.frechet import F64, Statistics, checked, frechet_distance
from irgen.search.interface import Scores
from irgen.verifiers.batches import check_pairs


class FrechetOracle:
    """Scores minus the FID that the kept set would have with the image added (Heusel et al., arXiv 1706.08500).

    Args:
        features: uint8 [B, H, W, 3] to float64 [B, d].
        real: statistics of the real set's features.
        kept: features of the images to start from, float64 [N, d], N >= 1.
    """

    def __init__(self, features: Callable[[np.ndarray], F64], real: Statistics, kept: F64) -> None:
        self._features = features
        self._real = real
        self._kept = Statistics.of(kept)

    def distance(self) -> float:
        """Return the kept set's FID.

        Raises:
            IrgenError: fewer than two images were kept.
        """
        return frechet_distance(self._real, self._kept)

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3], each alone beside the kept set; captions are not read."""
        check_pairs(images, captions)
        rows = self._features(images)
        value = [-frechet_distance(self._real, self._kept + Statistics.of(row[None])) for row in rows]
        return Scores(np.array(value, dtype=np.float64), {})

    def keep(self, images: np.ndarray) -> None:
        """Add uint8 [B, H, W, 3] to the kept set."""
        self._kept = self._kept + Statistics.of(self._features(images))


class InceptionOracle:
    """Scores the inception score of the kept set with the image added (Salimans et al., arXiv 1606.03498, section 4).

    Args:
        probabilities: uint8 [B, H, W, 3] to float64 [B, K], rows that add up to 1.
        kept: probabilities of the images to start from, float64 [N, K], N >= 0.
    """

    def __init__(self, probabilities: Callable[[np.ndarray], F64], kept: F64) -> None:
        self._probabilities = probabilities
        self._count = len(kept)
        self._sum = checked(kept).sum(axis=0)
        self._negative_entropy = float(_negative_entropies(kept).sum())

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3], each alone beside the kept set; captions are not read."""
        check_pairs(images, captions)
        rows = checked(self._probabilities(images))
        mean = (self._sum + rows) / (self._count + 1)
        value = (self._negative_entropy + _negative_entropies(rows)) / (self._count + 1) - _negative_entropies(mean)
        return Scores(np.exp(value), {})

    def keep(self, images: np.ndarray) -> None:
        """Add uint8 [B, H, W, 3] to the kept set."""
        rows = checked(self._probabilities(images))
        self._count += len(rows)
        self._sum = self._sum + rows.sum(axis=0)
        self._negative_entropy += float(_negative_entropies(rows).sum())


def _negative_entropies(probabilities: F64) -> F64:
    """Return sum p ln p over the last axis; 0 ln 0 is 0."""
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return np.asarray((probabilities * logs).sum(axis=-1))
