"""One lane against two, the same work on the miniature, one thread each: throughput, bytes, cost of a shard.

    python benchmarks/lanes.py --json

`throughput_ratio` compares images a second while the lanes work, models loaded (`wall_ratio`: with loading them);
`identical` the manifests; `overhead_s_per_shard` is what a shard costs beside its images: the same images in shards of
one against one shard of all; `import_s` what a schedule waits for `flows.build_dataset`; `memory_growth_mb` what a lane
holds more at its end than after its first shards. On cores that others use, too, the ratio says little: `idle_share`
tells how much of two cores was free before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from irgen import files, lanes, pipeline, settings, store
from irgen.lane import Plan
from irgen.settings import Manifest, SamplesSettings

MANIFEST = {
    "dataset": "lanes",
    "base": {"model": "miniature", "height_px": 80, "width_px": 96, "max_sequence_length": 48},
    "frames": {"source": "miniature", "scenes": {"train": 48, "test": 16}},
    "captions": {"train_frames": 24, "val_frames": 8, "test_frames": 8, "max_tokens": 49},
    "negatives": {"kinds": ["gray"]},
    "verifier": {
        "model": "miniature",
        "pretrained": "",
        "steps": 2,
        "batch_size": 8,
        "warmup_steps": 0,
        "bar": {"gray": 0, "match": 0},
    },
    "adapter": {"rank": 2, "alpha": 2, "steps": 2, "batch_size": 2, "gradient_accumulation": 1, "grid_images": 1},
    "labels": {"mode": "none"},
}
FIRST = ("frames", "captions", "negatives", "adapter", "verifier")


class Bench:
    """The miniature's stages before samples, made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = settings.parse(Manifest, MANIFEST, "benchmark")
        self.refs: dict[str, store.Ref] = {}
        for name in FIRST:
            self.refs[name] = self._make(name).ref

    def samples(self, count: int, **changes: Any) -> dict[str, Any]:
        """Make samples anew in so many lanes; return wall times, the manifest and the lanes' last state."""
        wanted = SamplesSettings(**changes)
        stage = pipeline.stage_named("samples")
        sections = {"samples": wanted, "base": self.manifest.base}
        inputs = {name: self.refs[name] for name in stage.reads(sections)}
        heard: list[tuple[float, lanes.Progress]] = []
        spent: dict[str, float] = {}

        def helpers(out: Path) -> None:
            plan = Plan(
                stage="samples",
                sections={name: section.model_dump(mode="json") for name, section in sections.items()},
                inputs={name: ref.path for name, ref in inputs.items()},
                out=str(out),
                parent=os.getpid(),
            )
            started = time.monotonic()
            lanes.run(plan, count, lambda progress: heard.append((time.monotonic(), progress)))
            spent["wall"] = time.monotonic() - started

        outcome = pipeline.run_stage(stage, self.root, sections, inputs, redo=True, helpers=helpers)
        end = heard[-1][1]
        return {
            "wall_s": spent["wall"],
            "images_per_s": end.images_per_s,
            "manifest": files.sha256_file(outcome.ref.folder / store.MANIFEST),
            "memory_mb": [
                max((state.memory_mb for state in progress.lanes), default=0.0)
                for _, progress in heard
                if progress.images
            ],
        }

    def _make(self, name: str) -> pipeline.Outcome:
        stage = pipeline.stage_named(name)
        sections = {section: getattr(self.manifest, section) for section in stage.sections}
        inputs = {key: self.refs[key] for key in stage.reads(sections)}
        return pipeline.run_stage(stage, self.root, sections, inputs)


def import_s() -> float:
    """Return the seconds of importing the flow, the best of three, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); import flows.build_dataset, sys; assert 'torch' not in sys.modules; "
    command = [sys.executable, "-c", code + "print(time.perf_counter() - t)"]
    return min(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(3))


def idle_share(seconds: float = 3.0) -> float:
    """Return the share of all cores' time that nobody uses."""
    import psutil

    return 1 - psutil.cpu_percent(seconds) / 100


def measure(images: int) -> dict[str, Any]:
    """Run everything and return the figures."""
    idle = idle_share()
    with tempfile.TemporaryDirectory() as folder:
        lanes.TELL_EVERY_S = 0.5
        bench = Bench(Path(folder))
        work = {"images": images, "steps": 8, "search": {"algorithm": "random", "candidates": 12}}
        work |= {"batch_size": 12, "prompts_at_once": 1, "images_per_shard": 2}
        one, two = bench.samples(1, **work), bench.samples(2, **work)
        light = {"images": 48, "steps": 1, "search": {"algorithm": "random", "candidates": 1}, "batch_size": 1}
        light |= {"prompts_at_once": 1}
        whole = bench.samples(1, **light, images_per_shard=48)
        single = bench.samples(1, **light, images_per_shard=1)
    memory = one["memory_mb"]
    return {
        "throughput_ratio": two["images_per_s"] / one["images_per_s"],
        "wall_ratio": one["wall_s"] / two["wall_s"],
        "identical": one["manifest"] == two["manifest"],
        "images": images,
        "images_per_s": [one["images_per_s"], two["images_per_s"]],
        "overhead_s_per_shard": (48 / single["images_per_s"] - 48 / whole["images_per_s"]) / 47,
        "memory_growth_mb": memory[-1] - memory[min(len(memory) - 1, len(memory) // 4)],
        "import_s": import_s(),
        "idle_share": idle,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--images", type=int, default=48, help="of the comparison")
    arguments = parser.parse_args()
    figures = measure(arguments.images)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
