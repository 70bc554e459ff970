"""A halving schedule is chosen where previews tell the end, and best of N everywhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irgen.errors import IrgenError
from irgen.search import policy
from irgen.search.estimates import cost, expected_best
from irgen.search.policy import Schedule, calibrate, judge

NFE, STEPS = 336, 28
FALLBACK = Schedule(((12, 28),), 336, fallback=True)


def planted(prompts=60, count=48, steps=12, *, told_from=0.0, noise=0.6, seed=0):
    """Return rewards whose previews tell the end better and better from a share of the way on, and nothing before."""
    rng = np.random.default_rng(seed)
    finished = rng.standard_normal((prompts, count, 1))
    way = np.arange(1, steps + 1) / steps
    blind = np.where(way <= told_from, 50.0, noise * (1 - way))
    rewards = finished + blind * rng.standard_normal((prompts, count, steps))
    scale, shift = rng.uniform(0.1, 3, (prompts, 1, 1)), rng.uniform(-5, 5, (prompts, 1, 1))
    return rewards * scale + shift


def shuffled(rewards, seed=0):
    """Return them with the previews of each step dealt to other seeds."""
    dealt = np.random.default_rng(seed).permuted(rewards, axis=1)
    return np.concatenate([dealt[:, :, :-1], rewards[:, :, -1:]], axis=2)


def test_previews_that_tell_the_end_are_worth_many_more_candidates():
    rewards = planted()
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    worth = judge(rewards[20:], chosen, NFE, STEPS)
    assert not chosen.fallback and chosen.stages[0][0] > 20
    assert worth.equivalent_n > 20 and worth.gain_z_ci95[0] > 0.1 and worth.nfe_for_equal_score < 230
    assert worth.policy > worth.best_of_n


def test_where_previews_tell_late_the_schedule_cuts_late():
    rewards = planted(told_from=0.6, noise=0.2)
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    assert not chosen.fallback and chosen.stages[0][1] > 0.6 * STEPS
    assert judge(rewards[20:], chosen, NFE, STEPS).gain_z_ci95[0] > 0


@pytest.mark.parametrize("seed", range(4))
def test_useless_previews_fall_back_and_lose_exactly_nothing(seed):
    rewards = shuffled(planted(seed=seed), seed)
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    assert chosen == FALLBACK
    worth = judge(rewards[20:], chosen, NFE, STEPS)
    assert worth.policy == worth.best_of_n and worth.gain_z == 0 and worth.gain_z_ci95 == (0, 0)
    assert worth.equivalent_n == pytest.approx(12) and worth.nfe_for_equal_score == 336


def test_previews_that_mislead_fall_back():
    rewards = planted()
    rewards[:, :, :-1] *= -1
    assert calibrate(rewards[:20, :32], NFE, STEPS) == FALLBACK


def test_previews_that_tell_only_the_failures_do_not_lose():
    # The model of the previews, whose ranks are joined as a Gaussian's, is wrong here: the best are told from nothing.
    rng = np.random.default_rng(0)
    finished = rng.standard_normal((60, 48, 1))
    previews = np.minimum(finished, -0.8) + 0.3 * rng.standard_normal((60, 48, 11))
    rewards = np.concatenate([previews, finished], axis=2)
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    assert judge(rewards[20:], chosen, NFE, STEPS).gain_z >= 0


@pytest.mark.parametrize("told_from", [0.3, 0.5, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_previews_that_tell_in_part_never_lose(told_from, noise):
    rewards = planted(told_from=told_from, noise=noise)
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    assert judge(rewards[20:], chosen, NFE, STEPS).gain_z >= 0


def test_measurements_of_the_finished_image_alone_fall_back():
    assert calibrate(planted(steps=1)[:20, :32], NFE, STEPS) == FALLBACK


@pytest.mark.parametrize("steps", [2, 5, 28, 60])
def test_any_number_of_measured_steps_will_do(steps):
    rewards = planted(steps=steps)
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    assert chosen.stages[-1][1] == STEPS and judge(rewards[20:], chosen, NFE, STEPS).gain_z > 0


@settings(max_examples=15, deadline=None)
@given(nfe=st.integers(1, 400), steps=st.integers(1, 30), measured=st.integers(1, 8), seed=st.integers(0, 9))
def test_a_schedule_narrows_ends_at_the_end_and_keeps_to_its_budget(nfe, steps, measured, seed):
    rewards = planted(prompts=4, count=10, steps=measured, noise=0.1, seed=seed)
    if nfe < steps:
        with pytest.raises(IrgenError, match=f"It takes {steps} NFE at least"):
            calibrate(rewards, nfe, steps)
        return
    chosen = calibrate(rewards, nfe, steps)
    counts, untils = zip(*chosen, strict=True)
    assert chosen.nfe == cost(chosen.stages) <= nfe
    assert list(counts) == sorted(set(counts), reverse=True) and counts[-1] >= 1
    assert list(untils) == sorted(set(untils)) and untils[0] >= 1 and untils[-1] == steps
    if chosen.fallback:
        assert chosen.stages == ((nfe // steps, steps),)


def test_the_choice_depends_on_nothing_but_the_ranks_and_z_scores():
    rewards = planted()[:20, :32]
    moved = 7 * rewards - 100
    moved[:, :, :-1] = np.exp(rewards[:, :, :-1] / 10)
    assert calibrate(rewards, NFE, STEPS) == calibrate(rewards, NFE, STEPS) == calibrate(moved, NFE, STEPS)


def test_fewer_seeds_than_candidates_are_enough_to_choose():
    rewards = planted()
    chosen = calibrate(rewards[:20, :8], NFE, STEPS)
    assert not chosen.fallback and chosen.stages[0][0] > 12
    assert calibrate(shuffled(rewards)[:20, :8], NFE, STEPS) == FALLBACK
    assert calibrate(rewards[:20, :8], NFE, STEPS, most_candidates=14).stages[0][0] <= 14


def test_a_dead_candidate_counts_as_its_prompts_worst():
    rewards = planted()[:20, :32]
    dead, low = rewards.copy(), rewards.copy()
    dead[:, 0, 4:] = np.nan
    low[:, 0, 4:] = rewards[:, 1:, 4:].min(axis=1)
    assert calibrate(dead, NFE, STEPS) == calibrate(low, NFE, STEPS)
    dead[3] = np.nan
    with pytest.raises(IrgenError, match="prompt 3 has no finished image"):
        calibrate(dead, NFE, STEPS)


def test_prompts_whose_rewards_are_all_equal_are_no_trouble():
    rewards = planted()
    rewards[::2] = 4.25
    chosen = calibrate(rewards[:20, :32], NFE, STEPS)
    worth = judge(rewards[20:], chosen, NFE, STEPS)
    assert np.isfinite([worth.best_of_n, worth.policy, worth.gain_z, *worth.gain_z_ci95]).all()
    assert calibrate(np.ones((20, 32, 5)), NFE, STEPS) == FALLBACK


def test_best_of_n_as_a_schedule_is_judged_exactly():
    rewards = planted(prompts=5)
    worth = judge(rewards, Schedule(((6, 28),), 168, fallback=False), NFE, STEPS)
    mean, scale = rewards[:, :, -1].mean(axis=1, keepdims=True), rewards[:, :, -1].std(axis=1, keepdims=True)
    curve = expected_best((rewards[:, :, -1] - mean) / scale).mean(axis=0)
    assert worth.gain_z == pytest.approx(curve[5] - curve[11])
    assert worth.equivalent_n == pytest.approx(6) and worth.nfe_for_equal_score == pytest.approx(336)
    assert worth.best_of_n == pytest.approx(expected_best(rewards[:, :, -1])[:, 11].mean())
    assert worth.policy == pytest.approx(expected_best(rewards[:, :, -1])[:, 5].mean())


def test_the_interval_is_that_of_the_mean_over_prompts():
    rewards = planted(prompts=100, count=32)
    chosen = Schedule(((20, 10), (12, 18), (4, 28)), 336, fallback=False)
    worth = judge(rewards, chosen, NFE, STEPS)
    gain = policy.gains(policy.standardised(rewards, 0), chosen.stages, 12)
    half = 1.96 * gain.std() / 10
    assert worth.gain_z_ci95 == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.1 * half)


def test_a_schedule_that_never_equals_best_of_n_says_so():
    worth = judge(shuffled(planted(count=12)), Schedule(((12, 3), (1, 28)), 61, fallback=False), NFE, STEPS)
    assert np.isnan(worth.nfe_for_equal_score) and worth.gain_z_ci95[1] < 0


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (np.ones((20, 32)), r"rewards are float64 \[20, 32\]"),
        (np.full((20, 32, 5), "a"), "not numbers"),
        (np.ones((1, 32, 5)), "1 prompts x 32 seeds x 5 steps are too few"),
        (np.ones((20, 1, 5)), "20 prompts x 1 seeds"),
        (np.ones((20, 32, 0)), "0 steps are too few"),
        (np.full((20, 32, 5), np.inf), "infinite in 3200 places"),
    ],
)
def test_what_is_no_tensor_of_rewards_is_refused(rewards, message):
    with pytest.raises(IrgenError, match=message):
        calibrate(rewards, NFE, STEPS)


def test_too_few_seeds_to_judge_on_are_refused():
    with pytest.raises(IrgenError, match="10 seeds a prompt cannot judge a search of 20 candidates"):
        judge(planted()[:, :10], Schedule(((20, 10), (4, 28)), 272, fallback=False), NFE, STEPS)


def test_a_cut_before_the_first_preview_is_not_judged_by_the_finished_image():
    with pytest.raises(IrgenError, match="rewards of 12 steps do not reach back to step 2 of 28"):
        judge(planted(), Schedule(((20, 2), (4, 28)), 144, fallback=False), NFE, STEPS)
