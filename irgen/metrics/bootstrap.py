"""Intervals by resampling whole groups, because frames of one video are not independent.

A resample has fewer different images than the set it is drawn from, which by itself raises a Fréchet distance. So
the spread of the resamples is taken, not their place: the 95 % interval is the estimate plus the resamples' quantiles
less their mean. It says how far the figure would move with other videos and images at the same N, not what it would
be at another N.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
Rows = NDArray[np.int64]


def resample(groups: Sequence[str], rng: np.random.Generator) -> Rows:
    """Draw groups with replacement until there are as many rows as at first; return the rows, N of them.

    The last group drawn is cut where it would go over N, so that N, and with it the bias of a distance, stays.

    Args:
        groups: of each row, the group it belongs to (its video); N different ones resample single rows.
        rng: decides the draw.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    pools = list(members.values())
    if len(pools) == len(groups):
        return rng.integers(len(groups), size=len(groups))
    drawn: list[int] = []
    while len(drawn) < len(groups):
        pool = pools[int(rng.integers(len(pools)))]
        drawn.extend(rng.permutation(pool)[: len(groups) - len(drawn)].tolist())
    return np.array(drawn, np.int64)


def interval(estimate: float, resampled: Sequence[float]) -> list[float]:
    """Return the lower and upper end of the interval around an estimate."""
    values = np.asarray(resampled, np.float64)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - values.mean()
    return [float(estimate + low), float(estimate + high)]
