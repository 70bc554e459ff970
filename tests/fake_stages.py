"""The chain of stages with a few lines in place of each, so that running it is tested without a model.

As a script it is the real command line over these stages: `python fake_stages.py run manifest.yaml`.
"""

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from irgen import files, pipeline
from irgen.errors import GateError

MANIFEST: dict[str, Any] = {
    "dataset": "tiny",
    "frames": {"source": "miniature"},
    "base": {"height_px": 64, "width_px": 64, "max_sequence_length": 48},
    "captions": {"train_frames": 48, "val_frames": 12, "test_frames": 12},
    "samples": {"images": 12},
}
"""Of a dataset so small that any disk has the room that is asked for before a run."""

CALLS: list[str] = []
"""Stages that ran since a test last cleared it."""


def module(stage: pipeline.Stage) -> ModuleType:
    """Make a stage's module: it writes its settings to a file and draws a picture."""

    def run(out: Path, **arguments: Any) -> dict[str, Any]:
        CALLS.append(stage.name)
        for name in stage.reads(arguments):
            assert (arguments[name] / "settings.json").exists()
        files.write_json(out / "settings.json", {key: arguments[key].model_dump(mode="json") for key in stage.sections})
        misbehave(stage.name, out)
        if stage.name == "samples":
            with files.placed(out / "grid.png") as path:
                Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, "PNG")
        return {"frames": 3, "pairs": 2, "boxes": {"person": 1}, "rejects": {}, "auc": {"gray": 0.99, "match": 0.8}}

    fake = ModuleType(f"irgen.stages.{stage.name}")
    vars(fake).update(VERSION=1, run=run, externals=lambda **sections: {})
    return fake


def misbehave(name: str, out: Path) -> None:
    """Fail as the environment says: IRGEN_FAKE=stage:how."""
    where, _, how = os.environ.get("IRGEN_FAKE", "").partition(":")
    if where != name:
        return
    if how == "gate":
        raise GateError("verifier: AUC against gray is 0.71, the bar is 0.98", "Train longer.")
    if how == "full":
        raise OSError(28, "No space left on device", str(out / "model.safetensors"))
    if how == "bug":
        raise TypeError("unsupported operand")
    if how == "wait":
        files.write_bytes(out / "_tmp" / "waiting", b"")
        time.sleep(60)


def modules() -> dict[str, ModuleType]:
    """Return all fakes by module name, the report's summary among them."""
    fakes = {f"irgen.stages.{stage.name}": module(stage) for stage in pipeline.STAGES}
    report = ModuleType("irgen.report")
    vars(report).update(summary=lambda outcomes: {"dataset": outcomes["shards"].ref.path, "images": 3})
    return {**fakes, "irgen.report": report}


if __name__ == "__main__":
    import irgen
    from irgen import cli

    sys.modules.update(modules())
    # `from irgen import report` takes the package's attribute, where the real one was imported before.
    irgen.report = sys.modules["irgen.report"]
    cli.main()
