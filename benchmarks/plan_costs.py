"""How near `irgen plan --calibrate` comes to what a run takes.

A third of the miniature is rehearsed, then made, each in a process of its own; compared are CPU seconds of these,
stage by stage and in all, because wall time of a busy machine says nothing. On a quiet one a run that was made before
is compared with by its wall time:

    python benchmarks/plan_costs.py --json
    python benchmarks/plan_costs.py --against data/miniature --json

`--against` takes a finished dataset of manifests/miniature.yaml, made on this machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import command
import yaml

from irgen import costs, pipeline, rehearsal, settings, store
from irgen.settings import Manifest

MANIFEST = Path(__file__).parents[1] / "manifests" / "miniature.yaml"
THIRD: dict[str, dict[str, Any]] = {
    "frames": {"scenes": {"train": 400, "test": 160, "seed": 0}},
    "captions": {"train_frames": 340},
    "verifier": {"steps": 60, "validate_every": 30, "bar": {"gray": 0, "match": 0}},
    "adapter": {"steps": 80},
    "samples": {"images": 48},
    "report": {"images": 48, "bootstrap": 40},
}
DETECTOR_STEPS = 80


def third(folder: Path) -> Path:
    """Write a manifest of about a third of the miniature's work."""
    document = yaml.safe_load(MANIFEST.read_text())
    for section, fields in THIRD.items():
        document[section] |= fields
    for one in document["teachers"]["detectors"]:
        one["steps"] = DETECTOR_STEPS
    path = folder / "third.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def alone(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own, where nothing is loaded yet."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def rehearse(path: Path, data: Path) -> dict[str, dict[str, float]]:
    """Return what a rehearsal predicts, by stage and clock."""
    manifest = settings.load_manifest(path)
    found = rehearsal.rehearse(manifest, data, pipeline.plan(manifest, data))
    return {
        stage: {
            clock: costs.predicted(stage, manifest, known, clock).seconds or 0.0 for clock in ("seconds", "cpu_seconds")
        }
        for stage, known in found.items()
    }


def run(path: Path, data: Path) -> dict[str, dict[str, float]]:
    """Make the dataset and return what it took, by stage and clock."""
    manifest = settings.load_manifest(path)
    refs = {}
    for stage in pipeline.STAGES:
        sections = {name: getattr(manifest, name) for name in stage.sections}
        inputs = {name: refs[name] for name in stage.reads(sections)}
        root = pipeline.dataset_root(data, manifest.dataset)
        refs[stage.name] = pipeline.run_stage(stage, root, sections, inputs).ref
    return {name: store.read_cost(ref.folder) for name, ref in refs.items()}


def recorded(dataset: Path, manifest: Manifest) -> dict[str, dict[str, float]]:
    """Return what a finished dataset took, by stage and clock."""
    lines = pipeline.plan(manifest.model_copy(update={"dataset": dataset.name}), dataset.parent)
    return {line.stage: store.read_cost(line.ref.folder) for line in lines if line.ref}


def compared(
    predicted: Mapping[str, Mapping[str, float]], took: Mapping[str, Mapping[str, float]], clock: str
) -> dict[str, Any]:
    """Return a row a stage, and of all `ratio`: predicted over taken; `error`, its distance from 1."""
    rows = {
        name: {"predicted": round(predicted[name][clock], 1), "took": round(took[name][clock], 1)}
        for name in pipeline.NAMES
    }
    ratio = sum(predicted[name][clock] for name in rows) / sum(took[name][clock] for name in rows)
    return {"clock": clock, "stages": rows, "ratio": round(ratio, 3), "error": round(abs(ratio - 1), 3)}


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--against", type=Path, help="a finished dataset of manifests/miniature.yaml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        path = MANIFEST if options.against else third(folder)
        predicted = alone(rehearse, path, folder / "data")
        if options.against:
            report = compared(predicted, recorded(options.against, settings.load_manifest(path)), "seconds")
        else:
            report = compared(predicted, alone(run, path, folder / "data"), "cpu_seconds")
    for name, row in report["stages"].items():
        print(f"{name:<10} predicted {row['predicted']:7.1f}, took {row['took']:7.1f} {report['clock']}")
    print(f"in all {report['ratio']:.2f} of what it took")
    command.finish(options, report)


if __name__ == "__main__":
    main()
