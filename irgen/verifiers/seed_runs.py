"""Trainings that survive an interruption: a finished seed is read again, not trained again."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from irgen import files
from irgen.settings import VerifierSettings
from irgen.verifiers.calibration import Calibration
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import Examples
from irgen.verifiers.training import Trained, train


def train_or_read(
    clip: Clip, settings: VerifierSettings, seed: int, examples: Examples, val: Examples, scratch: Path
) -> Trained:
    """Train with a seed, or read what an earlier, interrupted run of the same stage finished under `scratch`.

    Raises:
        GateError: the loss is not finite.
    """
    folder = scratch / f"seed-{seed}"
    weights, figures = folder / "weights.safetensors", folder / "figures.json"
    if not figures.exists():
        trained = train(clip, settings, seed, examples, val)
        folder.mkdir(parents=True, exist_ok=True)
        with files.placed(weights) as path:
            save_file(trained.weights, path)
        # Last: it says that the seed is finished.
        files.write_json(
            figures,
            {"step": trained.step, "losses": trained.losses, "calibration": trained.calibration.document()},
        )
    document = json.loads(figures.read_bytes())
    calibration = Calibration(**document.pop("calibration"))
    return Trained(weights=load_file(weights), calibration=calibration, **document)
