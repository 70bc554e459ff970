"""Ensemble of verifiers: weighted mean rank (arXiv 2501.09732, section 3.3, averages ranks over the candidates).

A rank among a prompt's candidates is known only when all are there, but searches compare as they go: zero-order a
pivot of the last iteration with new neighbours, halving previews of several prompts in one batch. So a score is
ranked among the scores of *unguided* images instead, P prompts with C candidates each, that the same generator made
and each member scored once. Then the ensemble's score is an image's own, whatever else is in the batch, and pivots
stay comparable.

Two things make such a rank worth what a rank among the candidates is:
- Unguided images, not real ones: against real frames nearly all generated ones would have rank 0, and ties.
- Members whose scores hang on the prompt more than on the image (a CLIPScore is high for some captions whatever is
  shown) have ranks that lie close together within a prompt, and would count for little. Ranks are therefore weighed
  by the inverse of their spread within a prompt, so that equal weights have equal say between candidates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irgen import files
from irgen.errors import IrgenError, StoreError
from irgen.metrics.frechet import F64
from irgen.search.interface import Scores, Verifier
from irgen.verifiers.batches import check_pairs


@dataclass(frozen=True)
class Voice:
    """One member: its name, unique in the ensemble, who judges, and how much it counts (> 0)."""

    name: str
    verifier: Verifier
    weight: float


class Ranks:
    """Ranks of one member's scores among those of unguided images.

    Args:
        name: of the member, for errors.
        reference: float64 [P, C], scores of C unguided images of each of P prompts; NaN where dead.

    Raises:
        IrgenError: too few scores, or scores that tell no two candidates of a prompt apart.
    """

    def __init__(self, name: str, reference: F64) -> None:
        alive = np.sort(reference[np.isfinite(reference)])
        if len(alive) < reference.size / 2 or len(alive) < 2:
            raise IrgenError(
                f"ensemble: {name} gave {reference.size - len(alive)} of {reference.size} unguided images no score",
                f"Mend {name}, or leave it out of samples.guide.members.",
            )
        self._scores, first, counts = np.unique(alive, return_index=True, return_counts=True)
        self._places = (first + counts / 2) / len(alive)
        self._scale = float(alive.std())
        self.spread = self._spread(reference)
        if not self.spread > 0:
            raise IrgenError(
                f"ensemble: {name} gives all unguided images of a prompt the same score, so it cannot choose",
                f"Leave {name} out of samples.guide.members.",
            )

    def of(self, scores: F64) -> F64:
        """Return ranks in (0, 1), larger is better; strictly increasing beyond the reference, too; NaN stays NaN."""
        low, high = self._scores[0], self._scores[-1]
        inside = np.interp(scores, self._scores, self._places)
        # Beyond the reference ranks go on rising, ever more slowly: no two scores are tied there.
        below = self._places[0] / (1 + np.maximum(low - scores, 0) / self._scale)
        above = 1 - (1 - self._places[-1]) / (1 + np.maximum(scores - high, 0) / self._scale)
        return np.where(scores < low, below, np.where(scores > high, above, inside))

    def _spread(self, reference: F64) -> float:
        """Return the standard deviation of ranks within a prompt."""
        rows = [row[np.isfinite(row)] for row in reference]
        variances = [self.of(row).var(ddof=1) for row in rows if len(row) > 1] if self._scale > 0 else []
        return float(np.sqrt(np.mean(variances))) if variances else 0.0


class Ensemble:
    """Scores the weighted mean of the members' ranks, in (0, 1); an image that one member gives no score is dead.

    Args:
        voices: the members.
        references: for each member's name its scores of unguided images, float64 [P, C]; see `measure`.

    Raises:
        IrgenError: a member cannot rank; see `Ranks`.
    """

    def __init__(self, voices: Sequence[Voice], references: Mapping[str, F64]) -> None:
        self._voices = voices
        self._ranks = {voice.name: Ranks(voice.name, references[voice.name]) for voice in voices}

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3] with their captions.

        Returns:
            Mean rank; parts are each member's score under its name, its rank as `rank_<name>`, and the member's parts.
        """
        check_pairs(images, captions)
        total, weights = np.zeros(len(images)), 0.0
        parts: dict[str, np.ndarray] = {}
        reasons = [""] * len(images)
        for voice in self._voices:
            scores = voice.verifier.score(images, captions)
            ranks = self._ranks[voice.name]
            rank = ranks.of(scores.value)
            weight = voice.weight / ranks.spread
            total, weights = total + weight * rank, weights + weight
            parts |= {**scores.parts, voice.name: scores.value, f"rank_{voice.name}": rank}
            given = scores.reasons or ("",) * len(images)
            for place in np.flatnonzero(~np.isfinite(scores.value)):
                reasons[place] = reasons[place] or given[place] or f"{voice.name}: score not finite"
        return Scores(total / weights, parts, tuple(reasons))


def measure(voices: Sequence[Voice], images: np.ndarray, captions: Sequence[str]) -> dict[str, F64]:
    """Score unguided images, uint8 [P, C, H, W, 3], of P captions with every member: float64 [P, C] each."""
    flat = images.reshape(-1, *images.shape[2:])
    repeated = [caption for caption in captions for _ in range(images.shape[1])]
    return {voice.name: voice.verifier.score(flat, repeated).value.reshape(images.shape[:2]) for voice in voices}


def save(references: Mapping[str, F64], path: Path) -> None:
    """Write references, so that a resumed run ranks as the first did; NaN is null."""
    document = {
        name: [[float(score) if np.isfinite(score) else None for score in row] for row in rows]
        for name, rows in references.items()
    }
    files.write_bytes(path, files.sealed(document))


def load(path: Path) -> dict[str, F64]:
    """Read what `save` wrote.

    Raises:
        StoreError: missing or changed.
    """
    try:
        document = files.read_sealed(path)
        return {name: np.array(rows, dtype=np.float64) for name, rows in document.items()}
    except (OSError, ValueError, TypeError, json.JSONDecodeError) as error:
        raise StoreError(
            f"{path}: missing or damaged ({error})", "Remove the output and run the stage again."
        ) from error
