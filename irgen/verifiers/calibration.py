"""How well a verifier tells real infrared from what is not, and a true caption from a wrong one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats

from irgen.errors import GateError, WeightsError
from irgen.settings import VerifierBar
from irgen.verifiers.examples import OWN, Examples
from irgen.verifiers.irscore import IrScore

MATCH = "match"
BINS = 40


@dataclass(frozen=True)
class Calibration:
    """What a verifier reached on held-out frames.

    Attributes:
        auc: by kind of negative, P(IRSCORE of a real LWIR image > IRSCORE of a negative), both with their true
            captions; and `match`, P(IRSCORE with the true caption > IRSCORE with another frame's, other caption).
        histograms: `edges`, and counts of scores by what was scored: real, real_shuffled, each kind.
        preview_rank: by denoising step, how a preview's score foretells that of the finished image: Spearman's
            correlation among generations of one caption, averaged over captions.
    """

    auc: dict[str, float]
    histograms: dict[str, list[float]]
    preview_rank: dict[str, float] = field(default_factory=dict)

    @property
    def objective(self) -> float:
        """What checkpoints and seeds are chosen by: the mean over kinds plus the match, each in 0..1."""
        kinds = [value for name, value in self.auc.items() if name != MATCH]
        return (float(np.mean(kinds)) if kinds else 0.0) + self.auc[MATCH]

    def document(self) -> dict[str, Any]:
        """Return it JSON-able."""
        return asdict(self)


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return P(positive > negative) + P(equal) / 2 over all pairs, in O(n log n)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left")
    up_to = np.searchsorted(ordered, positive, "right")
    return float((below + up_to).sum() / 2 / (len(positive) * len(negative)))


def match_auc(scores: np.ndarray, same: np.ndarray) -> float:
    """Return P(true caption's score > wrong caption's score), ties half, averaged over images.

    This is the limit of infinitely many shuffles: every image is compared with every caption that differs in text.

    Args:
        scores: [N, N], image i with the caption of frame j.
        same: bool [N, N], True where the captions of frames i and j are the same text.

    Returns:
        0.5, as if tossed, where all captions are the same text: there is nothing to match by.
    """
    true = np.diag(scores)[:, None]
    wins = np.where(same, 0.0, (true > scores) + 0.5 * (true == scores))
    wrong = (~same).sum(1)
    if not wrong.all():
        return 0.5
    return float((wins.sum(1) / wrong).mean())


def calibrate(verifier: IrScore, val: Examples) -> Calibration:
    """Score held-out frames and their negatives.

    Raises:
        WeightsError: a score is not finite.
    """
    distinct = list(dict.fromkeys(val.captions))
    position = {caption: number for number, caption in enumerate(distinct)}
    columns = np.array([position[caption] for caption in val.captions])
    forms = verifier.forms(distinct).double()
    real = _scores(verifier, val.lwir_u8, forms)[:, columns]
    same = columns[:, None] == columns[None, :]
    groups = {"real": np.diag(real), "real_shuffled": real[~same]}
    aucs = {}
    for kind, pixels in val.negatives_u8.items():
        if len(pixels):
            groups[kind] = _own_scores(verifier, pixels, forms, columns[val.owners[kind]])
            aucs[kind] = auc(groups["real"], groups[kind])
    aucs[MATCH] = match_auc(real, same)
    ranks = {}
    for step, pixels in val.previews_u8.items():
        shown = columns[val.owners[OWN]]
        ranks[str(step)] = rank_correlation(_own_scores(verifier, pixels, forms, shown), groups[OWN], shown)
    return Calibration(aucs, _histograms(groups), ranks)


def rank_correlation(early: np.ndarray, final: np.ndarray, group: np.ndarray) -> float:
    """Return Spearman's correlation of two scores [K] within groups int64 [K], averaged over groups.

    A group whose scores are all equal tells nothing and counts as 0; groups of one are left out.
    """
    found = []
    for one in np.unique(group):
        members = group == one
        if members.sum() > 1:
            flat = np.ptp(early[members]) == 0 or np.ptp(final[members]) == 0
            found.append(0.0 if flat else float(stats.spearmanr(early[members], final[members]).statistic))
    return float(np.mean(found)) if found else 0.0


def _own_scores(verifier: IrScore, images_u8: torch.Tensor, forms: torch.Tensor, caption: np.ndarray) -> np.ndarray:
    """Return IRSCORE [B] of uint8 [B, 3, h, w], each against its own of the captions' features, int64 [B]."""
    return np.asarray(_scores(verifier, images_u8, forms)[np.arange(len(images_u8)), caption])


def _scores(verifier: IrScore, images_u8: torch.Tensor, forms: torch.Tensor) -> np.ndarray:
    """Return IRSCORE [B, C] of uint8 [B, 3, h, w] against each of the captions' features [C, 2, D]."""
    features = verifier.clip.image_features(images_u8.float() / 255).double()
    cosines = torch.einsum("bd,cfd->fbc", features, forms).cpu().numpy()
    scores = verifier.combine(cosines[0], cosines[1])
    if not np.isfinite(scores).all():
        raise WeightsError("verifier: a score is not finite", "Lower verifier.learning_rate, or take other weights.")
    return scores


def _histograms(groups: dict[str, np.ndarray]) -> dict[str, list[float]]:
    everything = np.concatenate(list(groups.values()))
    edges = np.linspace(everything.min(), everything.max() + 1e-9, BINS + 1)
    counts = {name: np.histogram(scores, edges)[0].tolist() for name, scores in groups.items()}
    return {"edges": edges.tolist(), **counts}


def check_bar(aucs: dict[str, float], bar: VerifierBar) -> None:
    """Raise if a verifier stays under what the manifest asks.

    Raises:
        GateError: with the table of AUCs and bars.
    """
    asked = {name: value for name, value in bar.model_dump().items() if value > 0}
    short = [name for name, value in asked.items() if aucs.get(name, 0.0) < value]
    if not short:
        return
    names = list(dict.fromkeys([*aucs, *asked]))
    table = [f"  {name:<9}{_cell(aucs.get(name))}{_cell(asked.get(name))}" for name in names]
    raise GateError(
        "verifier: too weak on held-out frames: "
        + ", ".join(short)
        + "\n"
        + "\n".join(["  AUC      reached     bar", *table]),
        "Train longer or with more verifier.seeds, give it more frames, or lower verifier.bar; a kind without any "
        "held-out image needs a bar of 0.",
    )


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.3f}"
