"""One lane against two, the same work on the miniature, one thread each: throughput, bytes, cost of a shard.

    python benchmarks/lanes.py --json

Both are run in turns. Each lane notes, from its models' being loaded to its last commit, its wall time, its CPU time
and the time that it was ready but waited for a core that somebody else had (/proc/self/schedstat: Linux).
`throughput_ratio` compares the lanes' images a second, added up, of wall time less that waiting: what two cores would
give that nobody else uses. What a lane waits for the other's last shard is left out: it is less, the more shards there
are. `cpu_ratio` is the CPU time of both lanes together over one's: what they take from each other shows there, too;
`wall_ratio` is that of the wall times as they were. `identical` compares the manifests; `overhead_s_per_shard` is the
CPU time that a shard costs beside its images, the same images in shards of one against one shard of all; `import_s`
the CPU time of importing `flows.build_dataset`; `memory_growth_mb` what a lane held more at its end than after a
quarter of its shards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from irgen import files, lane, lanes, pipeline, settings, store
from irgen.lane import Plan
from irgen.progress import Advance, Bar
from irgen.settings import Manifest, SamplesSettings
from irgen.stages import samples

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


NOTES = "IRGEN_LANE_NOTES"
"""Names the folder in which each lane leaves what it spent."""


@dataclass(frozen=True)
class Spent:
    """What making the samples took, models loaded.

    Attributes:
        wall_s: from the first lane's begin to the last one's end.
        images_per_s: of all lanes together, without their waiting for a core.
        cpu_s: of all lanes.
        memory_growth_mb: of the lane that grew most.
        manifest: digest of the output's.
    """

    wall_s: float
    images_per_s: float
    cpu_s: float
    memory_growth_mb: float
    manifest: str


class Bench:
    """The miniature's stages before samples, made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = settings.parse(Manifest, MANIFEST, "benchmark")
        self.refs: dict[str, store.Ref] = {}
        for name in FIRST:
            self.refs[name] = self._make(name).ref

    def samples(self, count: int, **changes: Any) -> Spent:
        """Make samples anew in so many lanes, and say what that took."""
        wanted = SamplesSettings(**changes)
        stage = pipeline.stage_named("samples")
        sections = {"samples": wanted, "base": self.manifest.base}
        inputs = {name: self.refs[name] for name in stage.reads(sections)}
        with tempfile.TemporaryDirectory() as notes:

            def helpers(out: Path, anew: bool) -> int:
                plan = Plan(
                    stage="samples",
                    sections={name: section.model_dump(mode="json") for name, section in sections.items()},
                    inputs={name: ref.path for name, ref in inputs.items()},
                    out=str(out),
                    parent=os.getpid(),
                )
                os.environ[NOTES] = notes
                lanes.run(plan, count)
                return count

            outcome = pipeline.run_stage(stage, self.root, sections, inputs, redo=True, helpers=helpers)
            worked = [json.loads(path.read_text()) for path in Path(notes).iterdir()]
        return Spent(
            wall_s=max(each["until_s"] for each in worked) - min(each["from_s"] for each in worked),
            images_per_s=sum(each["images"] / (each["until_s"] - each["from_s"] - each["waited_s"]) for each in worked),
            cpu_s=sum(each["cpu_s"] for each in worked),
            memory_growth_mb=max(each["memory_growth_mb"] for each in worked),
            manifest=files.sha256_file(outcome.ref.folder / store.MANIFEST),
        )

    def _make(self, name: str) -> pipeline.Outcome:
        stage = pipeline.stage_named(name)
        sections = {section: getattr(self.manifest, section) for section in stage.sections}
        inputs = {key: self.refs[key] for key in stage.reads(sections)}
        return pipeline.run_stage(stage, self.root, sections, inputs)


def import_s() -> float:
    """Return the CPU seconds of importing the flow, the best of three, without the interpreter's own start."""
    code = "import time; t = time.process_time(); import flows.build_dataset, sys; assert 'torch' not in sys.modules; "
    command = [sys.executable, "-c", code + "print(time.process_time() - t)"]
    return min(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(3))


def work_as_lane(plan: Path) -> int:
    """Be a lane that notes what it spends."""
    make_shards = samples.make_shards

    def noting(*, bar: Bar, committed: Callable[[int], None], **arguments: Any) -> Any:
        began_s = began_cpu_s = began_waiting_s = 0.0
        images = 0
        memory_kb: list[int] = []

        @contextlib.contextmanager
        def noted(description: str, total: int) -> Iterator[Advance]:
            nonlocal began_s, began_cpu_s, began_waiting_s
            began_s, (began_cpu_s, began_waiting_s) = time.monotonic(), schedule()
            with bar(description, total) as advance:

                def count(number: int) -> None:
                    nonlocal images
                    images += number
                    advance(number)

                yield count

        def note(number: int) -> None:
            committed(number)
            memory_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            cpu_s, waiting_s = schedule()
            found = {
                "images": images,
                "from_s": began_s,
                "until_s": time.monotonic(),
                "cpu_s": cpu_s - began_cpu_s,
                "waited_s": waiting_s - began_waiting_s,
                "memory_growth_mb": (memory_kb[-1] - memory_kb[len(memory_kb) // 4]) / 1024,
            }
            (Path(os.environ[NOTES]) / str(os.getpid())).write_text(json.dumps(found))

        return make_shards(**arguments, bar=noted, committed=note)

    samples.make_shards = noting
    return lane.main(plan)


def schedule() -> tuple[float, float]:
    """Return the seconds that this thread had a core, and those that it was ready and had none."""
    running_ns, waiting_ns, _ = Path("/proc/self/schedstat").read_text().split()
    return int(running_ns) / 1e9, int(waiting_ns) / 1e9


def measure(images: int, pairs: int) -> dict[str, Any]:
    """Run everything and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        work = {"images": images, "steps": 4, "search": {"algorithm": "random", "candidates": 6}}
        work |= {"batch_size": 6, "prompts_at_once": 1, "images_per_shard": 2}
        ones, twos = [], []
        for pair in range(pairs):
            order = [(1, ones), (2, twos)]
            for count, spent in order if pair % 2 == 0 else order[::-1]:
                spent.append(bench.samples(count, **work))
        light = {"images": 32, "steps": 1, "search": {"algorithm": "random", "candidates": 1}, "batch_size": 1}
        light |= {"prompts_at_once": 1}
        whole = bench.samples(1, **light, images_per_shard=32)
        single = bench.samples(1, **light, images_per_shard=1)
    both = list(zip(ones, twos, strict=True))
    free = [two.images_per_s / one.images_per_s for one, two in both]
    return {
        "throughput_ratio": round(median(free), 3),
        "throughput_ratios": [round(ratio, 3) for ratio in free],
        "wall_ratio": round(median(one.wall_s / two.wall_s for one, two in both), 3),
        "cpu_ratio": round(median(two.cpu_s / one.cpu_s for one, two in both), 3),
        "identical": len({spent.manifest for spent in ones + twos}) == 1,
        "images": images,
        "pairs": pairs,
        "cpu_s_per_image": round(median(one.cpu_s for one in ones) / images, 3),
        "overhead_s_per_shard": round((single.cpu_s - whole.cpu_s) / 31, 4),
        "memory_growth_mb": round(max(one.memory_growth_mb for one in ones), 1),
        "import_s": round(import_s(), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--images", type=int, default=32, help="of each run")
    parser.add_argument("--pairs", type=int, default=2, help="runs of either")
    parser.add_argument("--lane", type=Path, metavar="PLAN", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lane:
        sys.exit(work_as_lane(arguments.lane))
    lanes.COMMAND = (sys.executable, str(Path(__file__).resolve()), "--lane")
    figures = measure(arguments.images, arguments.pairs)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
