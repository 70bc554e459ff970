"""Trainings that survive an interruption: a finished seed is read again, not trained again."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from irgen import collective, files
from irgen.collective import Group
from irgen.settings import VerifierSettings
from irgen.verifiers.calibration import Calibration
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import Examples
from irgen.verifiers.training import Trained, train

WEIGHTS, FIGURES = "weights.safetensors", "figures.json"


def train_or_read(
    clip: Clip, settings: VerifierSettings, seed: int, examples: Examples, val: Examples, scratch: Path
) -> Trained:
    """Train with a seed, or read what an earlier, interrupted run of the same stage finished under `scratch`.

    Raises:
        GateError: the loss is not finite.
    """
    train_unless_there(clip, settings, seed, examples, val, scratch)
    folder = _folder(scratch, seed)
    document = json.loads((folder / FIGURES).read_bytes())
    calibration = Calibration(**document.pop("calibration"))
    return Trained(weights=load_file(folder / WEIGHTS), calibration=calibration, **document)


def train_unless_there(
    clip: Clip,
    settings: VerifierSettings,
    seed: int,
    examples: Examples,
    val: Examples,
    scratch: Path,
    group: Group = collective.ALONE,
) -> None:
    """Train with a seed, which `train_or_read` then finds; of a group, the first process writes.

    Raises:
        GateError: the loss is not finite.
        SettingsError: as `train`.
    """
    folder = _folder(scratch, seed)
    if (folder / FIGURES).exists():
        return
    trained = train(clip, settings, seed, examples, val, group)
    if group.rank:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with files.placed(folder / WEIGHTS) as path:
        save_file(trained.weights, path)
    # Last: it says that the seed is finished.
    files.write_json(
        folder / FIGURES,
        {"step": trained.step, "losses": trained.losses, "calibration": trained.calibration.document()},
    )


def _folder(scratch: Path, seed: int) -> Path:
    return scratch / f"seed-{seed}"
