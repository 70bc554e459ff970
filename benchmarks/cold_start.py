"""How long `irgen --help` takes, and `irgen plan` of a million images: nothing made yet, and all made.

CPU seconds of the whole process, the interpreter's own start included: medians. The finished dataset has 4,000 shards
of 60 MB in either sharded stage, with all their tables and records; they are holes in the disk, for nobody reads them.

    python benchmarks/cold_start.py --json
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import command
import yaml

from irgen import files, pipeline, settings, store
from irgen.settings import Manifest
from irgen.store import Ref

MANIFEST = Path(__file__).parents[1] / "manifests" / "miniature.yaml"
IMAGES = 1_000_000
IMAGES_PER_SHARD = 250
SHARD_BYTES = 60_000_000
TABLES = {"samples": ("meta", "candidates", "contrasts"), "shards": ("meta", "rejects")}
"""Of the sharded stages, beside shards and commit records."""
AN_HOUR_NS = 3600 * 10**9


def cpu_s(*arguments: str) -> float:
    """Run irgen once; return user and system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "irgen", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def finish(manifest: Manifest, data: Path) -> None:
    """Lay out a dataset's finished outputs: right names, sizes and manifests, no contents."""
    refs: dict[str, Ref] = {}
    for stage in pipeline.STAGES:
        sections = {name: getattr(manifest, name) for name in stage.sections}
        name, resolved, inputs = pipeline.identify(stage, sections, refs)
        folder = pipeline.dataset_root(data, manifest.dataset) / stage.folder_name / name
        rows = [_hole(folder, each, size) for each, size in _named(stage.name, manifest)]
        body = {"stage": stage.name, "fingerprint": name, "version": stage.module().VERSION, "settings": resolved}
        body |= {"inputs": inputs, "figures": {}, "files": rows, "content": store.content_of(rows)}
        files.write_bytes(folder / store.MANIFEST, files.sealed(body))
        refs[stage.name] = store.ref(folder)


def _named(stage: str, manifest: Manifest) -> list[tuple[str, int]]:
    """Return the files of a stage's output, sorted, and how long they are."""
    if stage not in TABLES:
        return [(f"{stage}.parquet", 1000)]
    numbers = range(manifest.samples.images // manifest.samples.images_per_shard)
    named = [(f"commit/{number:06d}.json", 1500) for number in numbers]
    named += [(f"shards/{number:06d}-0123456789ab.tar", SHARD_BYTES) for number in numbers]
    named += [(f"{part}/{number:06d}-0123456789ab.parquet", 20_000) for part in TABLES[stage] for number in numbers]
    return sorted(named)


def _hole(folder: Path, name: str, size: int) -> dict[str, Any]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)
    written_ns = path.stat().st_mtime_ns - AN_HOUR_NS
    os.utime(path, ns=(written_ns, written_ns))
    return {"path": name, "sha256": "0" * 64, "bytes": size}


def measure(repeats: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        document = yaml.safe_load(MANIFEST.read_text())
        document["samples"] |= {"images": IMAGES, "images_per_shard": IMAGES_PER_SHARD}
        path = Path(folder, "million.yaml")
        path.write_text(yaml.safe_dump(document))
        made = Path(folder, "made")
        finish(settings.load_manifest(path), made)
        plan = ("plan", str(path), "--data")
        commands = {"help_s": ("--help",), "plan_s": (*plan, folder), "finished_plan_s": (*plan, str(made))}
        for arguments in commands.values():
            cpu_s(*arguments)  # whoever comes first compiles the modules
        return {
            name: round(median(cpu_s(*arguments) for _ in range(repeats)), 3) for name, arguments in commands.items()
        }


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    report = measure(options.repeats)
    print(f"irgen --help {report['help_s']:.2f} CPU-s")
    print(f"irgen plan of {IMAGES:,} images {report['plan_s']:.2f} CPU-s, of as many finished ", end="")
    print(f"{report['finished_plan_s']:.2f} CPU-s")
    command.finish(options, report)


if __name__ == "__main__":
    main()
