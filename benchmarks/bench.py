"""Run the benchmarks one after another, keep their results, and flag what fell since the committed ones.

    make bench
    python benchmarks/bench.py search_overhead linear     these alone; the other results stay

Results are in benchmarks/results.json. The exit code is 1 where a figure misses its target, is worse by more than
10 % than in the results of the last commit, or a benchmark breaks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TOLERANCE = 0.1


@dataclass(frozen=True)
class Figure:
    """A number of a benchmark's report.

    Attributes:
        benchmark: its module.
        path: in the report, with dots.
        least, most: its target; only one of them where it may be as good as it likes, and which says what is better.
        seconds: whether it is a time of this machine, which is not compared with another day's.
    """

    benchmark: str
    path: str
    least: float | None = None
    most: float | None = None
    seconds: bool = False

    def hits(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def fell(self, value: float, before: float) -> bool:
        """Tell whether it is worse by more than the tolerance; a band has its target alone."""
        if self.seconds or (self.least is None) == (self.most is None):
            return False
        return value < before * (1 - TOLERANCE) if self.most is None else value > before * (1 + TOLERANCE)


FIGURES = (
    Figure("search_overhead", "random.ratio", least=2.4),
    Figure("search_overhead", "zero_order.ratio", least=2.7),
    Figure("search_overhead", "random_20m.ratio", least=1.2),
    Figure("engine_overhead", "ratio", most=1.03),
    Figure("shard_writing", "ratio", least=4.0),
    Figure("shard_writing", "bytes_ratio", most=1.12),
    Figure("lora_step", "cached.ratio", least=1.0),
    Figure("lora_step", "encoding.ratio", least=1.3),
    Figure("ingest", "ratio", least=1.5),
    Figure("ingest", "annotations_cpu_s", most=15, seconds=True),
    Figure("frechet", "speedup", least=5.0),
    Figure("frechet", "speedup_cached", least=9.0),
    Figure("frechet", "speedup_few", least=20.0),
    Figure("frechet", "resampling_speedup", least=5.0),
    Figure("linear", "ratio", least=3.9, most=4.1),
    Figure("linear", "rss_growth", most=0.01),
    Figure("cold_start", "help_s", most=0.4, seconds=True),
    Figure("cold_start", "plan_s", most=3.0, seconds=True),
    Figure("cold_start", "finished_plan_s", most=3.0, seconds=True),
    Figure("search_policy", "flux_imr_val_base.equivalent_n", least=16),
    Figure("search_policy", "flux_hps_val_base.equivalent_n", least=13),
    Figure("gpu_flux", "share_of_product", least=0.6),
    Figure("gpu_flux", "speedup_over_stock", least=1.6),
    Figure("gpu_flux", "share_around", most=0.03),
    Figure("gpu_flux", "lora_speedup", least=1.35),
)
BENCHMARKS = tuple(dict.fromkeys(figure.benchmark for figure in FIGURES))


def run(name: str) -> dict[str, Any]:
    """Run a benchmark; return its report, or {"broken": its last words}."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py"), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        return {"broken": (done.stderr.strip().splitlines() or ["no word"])[-1]}
    *said, report = done.stdout.strip().splitlines()
    print("\n".join(said), flush=True)
    return json.loads(report) | {"wall_s": round(time.monotonic() - began, 1)}


def committed() -> dict[str, Any]:
    """Return the results of the last commit, none where there are none."""
    shown = subprocess.run(["git", "show", f"HEAD:./{RESULTS.name}"], cwd=HERE, capture_output=True, text=True)
    return json.loads(shown.stdout)["reports"] if shown.returncode == 0 else {}


def value(reports: dict[str, Any], figure: Figure) -> float | None:
    found: Any = reports.get(figure.benchmark, {})
    for part in figure.path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return None if found is None else float(found)


def verdicts(reports: dict[str, Any], before: dict[str, Any], names: list[str]) -> list[tuple[str, str]]:
    """Return a line for each figure, and what is wrong with it, "" for nothing."""
    lines = []
    for name in names:
        if "skipped" in reports[name]:
            lines.append((f"{name}: skipped: {reports[name]['skipped']}", ""))
        if "broken" in reports[name]:
            lines.append((f"{name}: {reports[name]['broken']}", "BROKEN"))
    for figure in FIGURES:
        now, then = value(reports, figure), value(before, figure)
        if figure.benchmark not in names or now is None:
            continue
        line = f"{figure.benchmark} {figure.path}: {now:g}" + ("" if then is None else f" (committed: {then:g})")
        wrong = "" if figure.hits(now) else "MISSED"
        lines.append((line, "FELL" if then is not None and figure.fell(now, then) else wrong))
    return lines


def machine() -> str:
    names = [line.partition(":")[2].strip() for line in cpu_info() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(BENCHMARKS)}; default: all")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    names = options.names or list(BENCHMARKS)
    before = committed()
    reports = json.loads(RESULTS.read_text())["reports"] if RESULTS.exists() else {}
    for name in names:
        print(f"--- {name}", flush=True)
        reports[name] = run(name)
        if "broken" not in reports[name]:
            reports[name] |= {"date": date.today().isoformat(), "machine": machine()}
            kept = {one: reports[one] for one in BENCHMARKS if one in reports and "broken" not in reports[one]}
            RESULTS.write_text(json.dumps({"reports": kept}, indent=1, sort_keys=True) + "\n")
    lines = verdicts(reports, before, names)
    print("\n".join(f"{wrong:7}{line}" for line, wrong in lines))
    sys.exit(1 if any(wrong for _, wrong in lines) else 0)


if __name__ == "__main__":
    main()
