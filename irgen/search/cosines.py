"""How far from its pivot zero-order search should look: the cosine between pivot and neighbour, by trying some.

A large cosine is a small step. What is best depends on the generator and the verifier: on a toy the usual 0.95 is worse
than random search of as many images, and 0.7 better. So it is tried, with the same noises and directions for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.zero_order import zero_order
from irgen.settings import ZeroOrderSearch

COSINES = (0.3, 0.5, 0.7, 0.85, 0.95)
USUAL = 0.7
ATTEMPT = -1
"""No attempt at an image has this number: what is tried on is no image of the dataset."""


def try_cosines(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: ZeroOrderSearch,
    *,
    seed: int,
    batch: int,
) -> NDArray[np.float64]:
    """Search with each of `COSINES`.

    Args:
        generator: makes the images.
        verifier: scores them.
        prompts: what they show.
        settings: of the search; its cosine is not used.
        seed: of the dataset.
        batch: images in memory at once.

    Returns:
        float64 [cosines, prompts], the score of what was kept; NaN where all candidates died.
    """
    kept = []
    for cosine in COSINES:
        tried = settings.model_copy(update={"cosine": cosine})
        found = zero_order(generator, verifier, prompts, tried, seed=seed, attempt=ATTEMPT, batch=batch)
        kept.append([one.kept.score if one.kept else np.nan for one in found])
    return np.array(kept)


def choose(scores: NDArray[np.float64]) -> float:
    """Return the cosine with the highest mean score, or the usual one where the best is not surely better.

    Args:
        scores: float64 [cosines, prompts] as `try_cosines` returns them; prompts with a NaN do not count.
    """
    usual = COSINES.index(USUAL)
    gains = (scores - scores[usual])[:, np.isfinite(scores).all(axis=0)]
    if gains.shape[1] < 2:
        return USUAL
    best = int(gains.mean(axis=1).argmax())
    error = gains[best].std(ddof=1) / np.sqrt(gains.shape[1])
    return COSINES[best] if gains[best].mean() > error else USUAL
