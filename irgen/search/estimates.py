"""What a keep schedule is expected to find, estimated from measured rewards of previews and finished images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from irgen import seeds
from irgen.errors import IrgenError

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Stages = tuple[tuple[int, int], ...]
"""((candidates, until_step), ...): so many candidates go on to that step."""

SUBSETS = 512
"""Random subsets of a prompt's seeds over which a schedule's score is averaged."""


def cost(stages: Stages) -> int:
    """Return the forwards that a schedule takes."""
    return sum(count * (until - since) for (count, until), (_, since) in zip(stages, ((0, 0), *stages), strict=False))


def expected_best(finished: F64) -> F64:
    """Return the expected maximum of n values drawn without replacement, for n = 1 .. S.

    The j-th largest of S is the maximum of n with probability C(S - j, n - 1) / C(S, n).

    Args:
        finished: float64 [prompts, S].

    Returns:
        float64 [prompts, S], column n - 1 for n.
    """
    falling = np.sort(finished, axis=1)[:, ::-1]
    total = finished.shape[1]
    weights = np.zeros((total, total))
    for n in range(1, total + 1):
        weights[0, n - 1] = n / total
        for j in range(1, total - n + 1):
            weights[j, n - 1] = weights[j - 1, n - 1] * (total - n - j + 1) / (total - j)
    return np.asarray(falling @ weights)


def checked(rewards: np.ndarray) -> F64:
    """Refuse what is no tensor of rewards, and put the dead last."""
    if rewards.ndim != 3 or not np.issubdtype(rewards.dtype, np.number) or np.iscomplexobj(rewards):
        raise IrgenError(
            f"rewards are {rewards.dtype} {list(rewards.shape)}, not numbers [prompts, seeds, steps]",
            "Stack them as reward[prompt, seed, step].",
        )
    prompts, count, steps = rewards.shape
    if prompts < 2 or count < 2 or steps < 1:
        raise IrgenError(
            f"rewards of {prompts} prompts x {count} seeds x {steps} steps are too few",
            "It takes 2 prompts, 2 seeds of each and 1 step at least; 20 prompts x 32 seeds tell enough.",
        )
    values = rewards.astype(np.float64)
    if np.isinf(values).any():
        raise IrgenError(
            f"rewards are infinite in {int(np.isinf(values).sum())} places", "Write NaN for a dead candidate."
        )
    dead = np.isnan(values)
    if dead[:, :, -1].all(axis=1).any():
        raise IrgenError(
            f"prompt {int(np.argmax(dead[:, :, -1].all(axis=1)))} has no finished image with a reward",
            "Leave prompts out whose candidates are all dead.",
        )
    if dead.any():
        worst = np.where(dead, np.inf, values).min(axis=1, keepdims=True)
        values = np.where(dead, np.where(np.isinf(worst), 0, worst), values)
    return values


def moments(values: F64) -> tuple[F64, F64]:
    """Return deviation and mean of each prompt's finished rewards; the deviation of equal ones is 0."""
    finished = values[:, :, -1]
    return finished.std(axis=1), finished.mean(axis=1)


def standardised(values: F64, seed: int) -> F64:
    """Return rewards in z units, the seeds of each prompt in random order, so that ties are no order either."""
    scale, mean = moments(values)
    scale = np.where(scale > 1e-12 * np.maximum(1, np.abs(mean)), scale, np.inf)
    rng = seeds.generator(seed, "policy", "order")
    order = rng.permuted(np.tile(np.arange(values.shape[1]), (len(values), 1)), axis=1)
    shuffled = np.take_along_axis(values, order[:, :, None], axis=1)
    z = (shuffled - mean[:, None, None]) / scale[:, None, None]
    # Previews count by their ranks alone: unlike ones, so that a cut keeps exactly as many as it should.
    z[:, :, :-1] = ranks(shuffled[:, :, :-1])
    return z


def ranks(values: F64) -> NDArray[np.int64]:
    """Return the rank of each seed at each step, 0 the lowest."""
    return np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1)


def column(until: int, total: int, steps: int) -> int:
    """Return the measurements' column that is as far on the way as a step, or just not; -1 where there is none.

    Column c of `total` stands for the share (c + 1) / total of the way.
    """
    return until * total // steps - 1


def gains(z: F64, stages: Stages, count: int, seed: int = 0) -> F64:
    """Return a schedule's gain over best of N on each prompt, float64 [prompts]; exactly 0 for best of N."""
    if len(stages) == 1 and stages[0][0] == count:
        return np.zeros(len(z))
    return scores(z, stages, seed) - expected_best(z[:, :, -1])[:, count - 1]


def scores(z: F64, stages: Stages, seed: int) -> F64:
    """Return the expected final z of what a schedule keeps on each prompt, over random subsets of its seeds."""
    _, count, total = z.shape
    steps, group = stages[-1][1], stages[0][0]
    if len(stages) == 1:
        return expected_best(z[:, :, -1])[:, group - 1]
    columns = [column(until, total, steps) for _, until in stages]
    place = {until: row for row, (_, until) in enumerate(stages[:-1])}
    rng = seeds.generator(seed, "policy", "subsets")
    keys = rng.random((SUBSETS, count), dtype=np.float32)
    subsets = np.argpartition(keys, group - 1, axis=1)[:, :group] if group < count else np.arange(count)[None]
    means = []
    for prompt in z:
        drawn = prompt[subsets][:, :, columns].astype(np.float32).transpose(2, 0, 1)
        means.append(kept_best(drawn, stages, place).mean(dtype=np.float64))
    return np.array(means)


def kept_best(drawn: F32, stages: Stages, place: dict[int, int]) -> F32:
    """Return the final value of what a schedule keeps of each group.

    Args:
        drawn: float32 [rows, groups, at least as many candidates as the schedule begins with], the last row final.
        stages: the schedule.
        place: of each step where it cuts, its row.
    """
    first = stages[0][0]
    out = np.zeros((drawn.shape[1], first), bool)
    for (_, until), (kept, _) in pairwise(stages):
        preview = np.where(out, -np.inf, drawn[place[until]][:, :first])
        gone = first - kept
        out = preview < np.partition(preview, gone, axis=1)[:, gone, None]
    finished: F32 = np.where(out, -np.inf, drawn[-1][:, :first]).max(axis=1)
    return finished


def thinned(stages: Stages, share: float) -> Stages:
    """Return a schedule with a share of the candidates, at least one; a stage that cuts none any more is left out."""
    thin: list[tuple[int, int]] = []
    for count, until in stages:
        kept = max(1, round(count * share))
        if thin and thin[-1][0] == kept:
            thin.pop()
        thin.append((kept, until))
    return tuple(thin)
