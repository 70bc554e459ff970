"""Files of measured rewards, and what a policy calibrated on them is worth: the body of `irgen policy`."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from irgen.errors import SourceError
from irgen.search.policy import best_of, calibrate, judge

KEY = "reward"
PROMPTS, SEEDS = 20, 32
"""Of the measurements, what a schedule is chosen on; it is judged on the other prompts, and all their seeds."""
JUDGED = 2
"""Prompts that must be left to judge on, at least."""


def policy(path: Path, nfe: int, steps: int) -> dict[str, Any]:
    """Choose a schedule on the first prompts of a file, and judge it on the others.

    Args:
        path: .npz with `reward`, float [prompts, seeds, steps measured], the last step's of the finished images.
        nfe: budget of an image in forwards.
        steps: of a whole denoising.

    Returns:
        `schedule` [[candidates, until_step], ...], `nfe` that it takes, `best_of_n` and `policy`, the expected
        rewards, `gain_z` with `gain_z_ci95`, `equivalent_n` and `nfe_for_equal_score` (None where it never is); see
        `irgen.search.policy.Judgement`.

    Raises:
        SourceError: a file that is missing, damaged or not such a tensor; names the file and the key.
        IrgenError: a budget below one image.
    """
    best_of(nfe, steps)
    rewards = load(path)
    most = rewards.shape[1]
    if nfe // steps > most:
        raise SourceError(
            f"{path}: {KEY} has {most} seeds a prompt, too few for best of {nfe // steps} ({nfe} NFE at {steps} steps)",
            f"Measure {nfe // steps} seeds a prompt, or lower the budget to {most * steps} NFE.",
        )
    schedule = calibrate(rewards[:PROMPTS, :SEEDS], nfe, steps, most_candidates=min(most, max(SEEDS, 2 * nfe // steps)))
    verdict = judge(rewards[PROMPTS:], schedule, nfe, steps)
    equal = verdict.nfe_for_equal_score
    return {
        "schedule": [list(stage) for stage in schedule],
        "nfe": schedule.nfe,
        "best_of_n": verdict.best_of_n,
        "policy": verdict.policy,
        "gain_z": verdict.gain_z,
        "gain_z_ci95": list(verdict.gain_z_ci95),
        "equivalent_n": verdict.equivalent_n,
        "nfe_for_equal_score": None if math.isnan(equal) else equal,
    }


def table(document: dict[str, Any], nfe: int, steps: int) -> list[tuple[str, str]]:
    """Return what `policy` found as rows to print."""
    stages, count = document["schedule"], nfe // steps
    low, high = document["gain_z_ci95"]
    equal = document["nfe_for_equal_score"]
    halves = ", ".join(f"{candidates} to step {until}" for candidates, until in stages)
    return [
        ("schedule", halves if len(stages) > 1 else f"best of {count}: previews do not tell the end well enough"),
        ("NFE", f"{document['nfe']} of {nfe}"),
        (f"reward, best of {count}", f"{document['best_of_n']:.4f}"),
        ("reward, policy", f"{document['policy']:.4f}"),
        ("gain", f"{document['gain_z']:+.4f} z, 95 % of [{low:+.4f}, {high:+.4f}]"),
        ("as good as best of", f"{document['equivalent_n']:.1f}"),
        (f"NFE to equal best of {count}", "never" if equal is None else f"{equal:.0f}"),
    ]


def load(path: Path) -> np.ndarray:
    """Read a tensor of rewards, without pickle.

    Raises:
        SourceError: naming the file, the key and what is wrong with it.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise SourceError(f"{path}: holds one array, not an .npz", f"Save it with np.savez(path, {KEY}=...).")
        with loaded as arrays:
            if KEY not in arrays:
                raise SourceError(
                    f"{path}: has no array {KEY!r}, only {', '.join(arrays.files) or 'nothing'}",
                    f"Save it as {KEY}[prompt, seed, step].",
                )
            rewards = arrays[KEY]
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror or error})", "Name an .npz file of rewards."
        ) from error
    # An encrypted member and an unknown compression are RuntimeErrors, a shape beyond all memory is a MemoryError.
    except (ValueError, EOFError, RuntimeError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path}: not an .npz of plain numbers ({error})", f"Save it with np.savez(path, {KEY}=...)."
        ) from error
    _check(path, rewards)
    return rewards


def _check(path: Path, rewards: np.ndarray) -> None:
    what = f"{path}: {KEY} {list(rewards.shape)}"
    if rewards.ndim != 3 or rewards.dtype.kind not in "fiu":
        raise SourceError(f"{what} of {rewards.dtype} is not numbers [prompts, seeds, steps]", "Stack it so.")
    prompts, count, steps = rewards.shape
    if prompts < PROMPTS + JUDGED or count < 2 or steps < 1:
        raise SourceError(
            f"{what} is {prompts} prompts x {count} seeds x {steps} steps: too few",
            f"It takes {PROMPTS} prompts to choose on, {JUDGED} more to judge on, 2 seeds of each and 1 step at least.",
        )
    bad = ~np.isfinite(rewards)
    if bad.any():
        place = ", ".join(str(int(at)) for at in np.argwhere(bad)[0])
        raise SourceError(
            f"{what} is not finite in {int(bad.sum())} places, first at [{place}]",
            "Measure these again, or leave their prompts or seeds out.",
        )
