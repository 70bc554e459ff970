"""Which candidates a halving search should keep, learnt from what previews said of finished images.

Measured is `reward[prompt, seed, step]`: the verifier's score of the clean-image estimate after each step, the last
step's that of the finished image. A schedule is worth more than best of N only where previews tell the end, and its
gain is small beside the noise of a few prompts: the best of a thousand schedules on 20 prompts is mostly luck. So the
choice is made on a model of the previews, whose few parameters 20 prompts do tell: the prompt's own rank correlations
between steps (a Gaussian copula) and the distribution of finished scores. What was chosen must then also hold on the
measurements themselves; else the policy is best of N.

Scores are standardised within each prompt by mean and deviation of its finished images ("z"), so that no prompt
outweighs another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtri, stdtrit

from irgen import seeds
from irgen.errors import IrgenError
from irgen.search.estimates import (
    F32,
    F64,
    Stages,
    checked,
    column,
    cost,
    expected_best,
    gains,
    kept_best,
    moments,
    ranks,
    scores,
    standardised,
    thinned,
)

CUTS = 9
"""Steps at which a schedule may cut, spread over those that were measured."""
KEPT_LAST = (1 / 12, 1 / 6, 1 / 4, 1 / 3, 5 / 12, 1 / 2, 2 / 3, 5 / 6)
"""Candidates that may be left at the end, as shares of N."""
KEPT_BEFORE = (5 / 12, 1 / 2, 2 / 3, 5 / 6, 1, 7 / 6, 4 / 3, 3 / 2, 5 / 3, 2)
"""Candidates that may be left after the first of two cuts, as shares of N."""
DRAWS, SCREENING_DRAWS = 192, 24
"""Groups of candidates drawn from the model of a prompt: for the most promising schedules, and to find these."""
PROMISING = 100
CAUTION = 1.0
"""Standard errors by which a schedule's mean gain is lowered before the schedules are compared."""
LEVEL = 0.99
"""Of the one-sided test that the chosen schedule has to pass."""
RESAMPLINGS = 4000


@dataclass(frozen=True, slots=True)
class Schedule:
    """A keep schedule; iterating it gives the stages.

    Attributes:
        stages: ((candidates, until_step), ...): so many candidates go on to that step; the last stage ends at `steps`.
        nfe: forwards that it takes.
        fallback: whether it is best of N, because previews do not tell enough.
    """

    stages: Stages
    nfe: int
    fallback: bool

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the stages."""
        return iter(self.stages)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a schedule is worth against best of N at the same budget.

    Attributes:
        best_of_n: expected reward of the finished image that best of N keeps.
        policy: the same of the schedule.
        gain_z: policy less best of N, in deviations of a prompt's finished rewards.
        gain_z_ci95: interval of it, by resampling prompts.
        equivalent_n: the N whose best is as good as the policy, not a whole number; at most the seeds measured.
        nfe_for_equal_score: what the schedule, thinned out, takes to be as good as best of N; NaN where it never is.
    """

    best_of_n: float
    policy: float
    gain_z: float
    gain_z_ci95: tuple[float, float]
    equivalent_n: float
    nfe_for_equal_score: float


def calibrate(rewards: np.ndarray, nfe: int, steps: int, *, most_candidates: int | None = None) -> Schedule:
    """Choose the schedule that is expected to find the highest final reward within a budget.

    The same measurements give the same schedule. Where a schedule begins with more candidates than seeds were
    measured, the test of it is made on one thinned out to those seeds.

    Args:
        rewards: float [prompts, seeds, T], T the steps measured, of any number: the reward after a share of the way
            stands for the step that is as far. NaN is a dead candidate, which counts as its prompt's worst.
        nfe: budget of an image in forwards.
        steps: of a whole denoising.
        most_candidates: that a schedule may begin with; by default the seeds measured, or 2 N if that is more.

    Raises:
        IrgenError: rewards of another shape, infinite or of too few prompts or seeds; a budget below one image.
    """
    finished = standardised(checked(rewards), seed=0)
    count = best_of(nfe, steps)
    none = Schedule(((count, steps),), count * steps, fallback=True)
    _, measured, total = finished.shape
    most = max(measured, 2 * count) if most_candidates is None else most_candidates
    columns = _cuts(total, steps)
    choices = list(_schedules(nfe, steps, list(columns), most))
    if not choices or count > most:
        return none
    stages, modelled = _promising(finished, columns, choices, count, most)
    thin = min(1.0, measured / max(stages[0][0], count))
    seen = gains(finished, thinned(stages, thin), max(1, round(count * thin)))
    strict = float(stdtrit(len(seen) - 1, LEVEL))
    passed = min(_cautious(modelled, strict), _cautious((modelled + seen) / 2, strict)) > 0
    return Schedule(stages, cost(stages), fallback=False) if passed else none


def judge(rewards: np.ndarray, schedule: Schedule, nfe: int, steps: int, *, seed: int = 0) -> Judgement:
    """Say what a schedule is worth on prompts that it was not chosen on.

    Best of N is exact: the expectation over all subsets of the measured seeds. A schedule's score is the mean over
    random subsets of them.

    Args:
        rewards: float [prompts, seeds, T] of other prompts; as many seeds as candidates, at least.
        schedule: from `calibrate`.
        nfe: the budget, for N.
        steps: of a whole denoising.
        seed: of the subsets and resamplings.

    Raises:
        IrgenError: rewards of another shape, infinite, of too few prompts or seeds, or of no step as early as the
            schedule's first cut.
    """
    values = checked(rewards)
    count = best_of(nfe, steps)
    least = max(count, schedule.stages[0][0])
    if values.shape[1] < least:
        raise IrgenError(
            f"rewards of {values.shape[1]} seeds a prompt cannot judge a search of {least} candidates",
            f"Measure {least} seeds a prompt, or lower the budget.",
        )
    if column(schedule.stages[0][1], values.shape[2], steps) < 0:
        raise IrgenError(
            f"rewards of {values.shape[2]} steps do not reach back to step {schedule.stages[0][1]} of {steps}",
            "Measure more steps, or cut later.",
        )
    z = standardised(values, seed)
    curve = expected_best(z[:, :, -1]).mean(axis=0)
    gain = gains(z, schedule.stages, count, seed)
    scale, _ = moments(values)
    raw = expected_best(values[:, :, -1])[:, count - 1]
    rng = seeds.generator(seed, "policy", "bootstrap")
    resampled = gain[rng.integers(len(gain), size=(RESAMPLINGS, len(gain)))].mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Judgement(
        best_of_n=float(raw.mean()),
        policy=float((raw + gain * scale).mean()),
        gain_z=float(gain.mean()),
        gain_z_ci95=(float(low), float(high)),
        equivalent_n=float(np.interp(curve[count - 1] + gain.mean(), curve, np.arange(1, len(curve) + 1))),
        nfe_for_equal_score=_nfe_for(z, schedule, float(curve[count - 1]), seed),
    )


def best_of(nfe: int, steps: int) -> int:
    """Return the N of best of N within a budget.

    Raises:
        IrgenError: it does not reach for one image.
    """
    if steps < 1 or nfe < steps:
        raise IrgenError(
            f"a budget of {nfe} NFE at {steps} steps does not reach for one image",
            f"It takes {max(1, steps)} NFE at least.",
        )
    return nfe // steps


def _cuts(total: int, steps: int) -> dict[int, int]:
    """Return the steps where a schedule may cut, and of each the column of its preview, never the finished image's.

    Of steps with the same column the first is cheapest.
    """
    first: dict[int, int] = {}
    for until in range(1, steps):
        first.setdefault(column(until, total, steps), until)
    first.pop(-1, None)
    columns = list(first)
    wanted = {columns[round(at)] for at in np.linspace(0, len(columns) - 1, min(CUTS, len(columns)))}
    return {first[one]: one for one in sorted(wanted)}


def _schedules(nfe: int, steps: int, cuts: list[int], most: int) -> Iterator[Stages]:
    """Yield schedules of one and two cuts that use the budget up: as many first candidates as it allows."""
    count = nfe // steps
    last = sorted({max(1, round(share * count)) for share in KEPT_LAST})
    before = sorted({max(2, round(share * count)) for share in KEPT_BEFORE})
    for at in cuts:
        for kept in last:
            first = min((nfe - kept * (steps - at)) // at, most)
            if first > kept:
                yield ((first, at), (kept, steps))
    for early, late in combinations(cuts, 2):
        for some in before:
            for kept in (one for one in last if one < some):
                first = min((nfe - some * (late - early) - kept * (steps - late)) // early, most)
                if first > some:
                    yield ((first, early), (some, late), (kept, steps))


def _promising(z: F64, columns: dict[int, int], choices: list[Stages], count: int, most: int) -> tuple[Stages, F64]:
    """Return the schedule that is best under the model, and its gain on each prompt, float64 [prompts]."""
    for draws, left in ((SCREENING_DRAWS, PROMISING), (DRAWS, 1)):
        drawn = _draws(z, list(columns.values()), max(most, count), draws)
        modelled = _modelled_gains(drawn, columns, choices, count, len(z))
        order = np.argsort(-_cautious(modelled, CAUTION), kind="stable")[:left]
        choices = [choices[one] for one in order]
    return choices[0], modelled[order[0]]


def _modelled_gains(drawn: F32, columns: dict[int, int], choices: list[Stages], count: int, prompts: int) -> F64:
    """Return each schedule's gain over best of N on what was drawn, float64 [schedules, prompts]."""
    place = {until: row for row, until in enumerate(columns)}
    starts = range(0, drawn.shape[2] - count + 1, count)
    plain = np.mean([drawn[-1][:, start : start + count].max(axis=1) for start in starts], axis=0)
    gained = np.stack([kept_best(drawn, stages, place) - plain for stages in choices])
    means: F64 = gained.reshape(len(choices), prompts, -1).mean(axis=2, dtype=np.float64)
    return means


def _draws(z: F64, columns: list[int], group: int, draws: int) -> F32:
    """Draw groups of candidates from the model: float32 [cuts + 1, prompts x draws, group], the last row in z units."""
    prompts, count, _ = z.shape
    normal = ndtri((ranks(z[:, :, [*columns, -1]]) + 0.5) / count)
    normal /= normal.std(axis=1, keepdims=True)
    # Each prompt's own correlations: noisy, and so rather a little too unlike, which lowers the gain that they promise.
    values, vectors = np.linalg.eigh(np.einsum("pst,psu->ptu", normal, normal) / count)
    # The symmetric root: vectors alone have any sign, another on another machine.
    roots = (vectors * np.sqrt(values.clip(0))[:, None, :]) @ vectors.transpose(0, 2, 1)
    mixing = roots.astype(np.float32)
    rng = seeds.generator(0, "policy", "model")
    drawn = rng.standard_normal((prompts, draws * group, mixing.shape[1]), dtype=np.float32) @ mixing.transpose(0, 2, 1)
    drawn = np.ascontiguousarray(drawn.reshape(prompts * draws, group, -1).transpose(2, 0, 1))
    finished = np.sort(z[:, :, -1].ravel())
    drawn[-1] = np.interp(drawn[-1], ndtri((np.arange(len(finished)) + 0.5) / len(finished)), finished)
    return drawn


def _cautious(gains: F64, caution: float) -> F64:
    """Return the mean over prompts (the last axis) less some standard errors."""
    return np.asarray(gains.mean(axis=-1) - caution * gains.std(axis=-1, ddof=1) / np.sqrt(gains.shape[-1]))


def _nfe_for(z: F64, schedule: Schedule, score: float, seed: int) -> float:
    """Return the forwards with which the schedule, its candidates thinned out or multiplied, reaches a score."""
    if schedule.fallback:
        return float(schedule.nfe)
    first = schedule.stages[0][0]
    nfe: list[int] = []
    reached: list[float] = []
    for candidates in range(1, z.shape[1] + 1):
        stages = thinned(schedule.stages, candidates / first)
        nfe.append(cost(stages))
        reached.append(float(scores(z, stages, seed).mean()))
        if reached[-1] >= score:
            return float(np.interp(score, np.maximum.accumulate(reached), nfe))
    return float("nan")
