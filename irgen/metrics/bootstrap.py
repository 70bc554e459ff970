"""Intervals by resampling whole groups, because frames of one video are not independent.

A resample has fewer different images than the set it is drawn from, which by itself raises a Fréchet distance. So
the spread of the resamples is taken, not their place: the 95 % interval is the estimate plus the resamples' quantiles
less their mean. It says how far the figure would move with other videos and images at the same N, not what it would
be at another N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from irgen import seeds

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


def interval(estimate: float, resampled: Sequence[float] | NDArray[np.floating]) -> list[float]:
    """Return the lower and upper end of the interval around an estimate."""
    values = np.asarray(resampled, np.float64)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - values.mean()
    return [float(estimate + low), float(estimate + high)]


def intervals(
    figures: Callable[[Rows, Rows], Mapping[str, float]],
    real_groups: Sequence[str],
    generated_groups: Sequence[str],
    *,
    resamplings: int,
    seed: int,
) -> dict[str, list[float]]:
    """Return the interval of each figure that compares two sets, over resamples of both.

    Args:
        figures: of the given real and generated rows.
        real_groups: of each real row, its group (video).
        generated_groups: of each generated row, its group; all different ones resample single images.
        resamplings: how many, at least 1.
        seed: each resample has its own stream of it.
    """
    estimate = figures(np.arange(len(real_groups)), np.arange(len(generated_groups)))
    draws = []
    for number in range(resamplings):
        rng = seeds.generator(seed, number, "metrics/bootstrap")
        draws.append(figures(resample(real_groups, rng), resample(generated_groups, rng)))
    return {name: interval(value, [draw[name] for draw in draws]) for name, value in estimate.items()}
