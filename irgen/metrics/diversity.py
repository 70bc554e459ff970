"""How different the images of one set are from each other, and how sure and varied a classifier finds them.

A search that always takes the top of a verifier makes sets that score well and look alike; these figures need no real
set to show it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from irgen.errors import IrgenError
from irgen.metrics.frechet import F64, checked


def vendi_score(features: NDArray[np.floating]) -> float:
    """Return the effective number of different images, 1..N, under the cosine of features [N, d].

    exp(-sum l ln l) over the eigenvalues l of the cosine matrix over N (Friedman and Dieng, arXiv 2210.02410,
    definition 3.1).

    Raises:
        IrgenError: no image, a feature vector of zeros, or a feature is not finite.
    """
    rows = checked(features)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(rows) == 0 or not norms.all():
        raise IrgenError(
            f"{len(rows)} images, {int((norms == 0).sum())} of them with all features zero: they have no cosine",
            "Check the feature net's weights and the images.",
        )
    unit = rows / norms
    # Both products have the same eigenvalues but for zeros, which add nothing.
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    eigenvalues = np.linalg.eigvalsh(gram / len(unit))
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def inception_score(logits: NDArray[np.floating], *, splits: int = 10) -> float:
    """Return the Inception score: exp of the mean divergence of a class prediction from all of them together.

    1 where every image gets the same prediction; as many as there are classes where each is sure and all are equally
    frequent (Salimans et al., arXiv 1606.03498, section 4). The mean over splits, as the field reports it.

    Args:
        logits: float [N, classes], in an order that has nothing to do with the classes (shuffled, say).
        splits: parts of about equal size, each of which is its own "all of them".

    Raises:
        IrgenError: fewer images than splits, or a logit is not finite.
    """
    rows = checked(logits)
    if len(rows) < splits:
        raise IrgenError(f"{len(rows)} images cannot be split into {splits} parts", "Give more images or fewer splits.")
    edges = np.arange(splits + 1) * len(rows) // splits
    log_p: F64 = log_softmax(rows, axis=1)
    return float(np.mean([_split_score(log_p[start:end]) for start, end in pairwise(edges)]))


def _split_score(log_p: F64) -> float:
    together = logsumexp(log_p, axis=0) - np.log(len(log_p))
    return float(np.exp((np.exp(log_p) * (log_p - together)).sum(axis=1).mean()))
