"""How long `irgen --help` takes, and `irgen plan` on a manifest of a million images.

CPU seconds of the whole process, the interpreter's own start included: medians.

    python benchmarks/cold_start.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import yaml

MANIFEST = Path(__file__).parents[1] / "manifests" / "miniature.yaml"
IMAGES = 1_000_000


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


def measure(repeats: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        document = yaml.safe_load(MANIFEST.read_text())
        document["samples"]["images"] = IMAGES
        manifest = Path(folder) / "million.yaml"
        manifest.write_text(yaml.safe_dump(document))
        commands = {"help_s": ("--help",), "plan_s": ("plan", str(manifest), "--data", folder)}
        for arguments in commands.values():
            cpu_s(*arguments)  # whoever comes first compiles the modules
        return {
            name: round(median(cpu_s(*arguments) for _ in range(repeats)), 3) for name, arguments in commands.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    report = measure(options.repeats)
    print(f"irgen --help {report['help_s']:.2f} CPU-s, irgen plan of {IMAGES:,} images {report['plan_s']:.2f} CPU-s")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
