"""What benchmarks ask on the command line, and how they end: figures for people, then JSON for bench.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any


def parser(doc: str, pairs: int = 0) -> argparse.ArgumentParser:
    """Return a parser of --json and, for benchmarks that compare, --pairs; `doc` is the benchmark's docstring."""
    asking = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    asking.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    if pairs:
        asking.add_argument("--pairs", type=int, default=pairs, help="interleaved pairs of runs")
    return asking


def finish(options: argparse.Namespace, report: Mapping[str, Any]) -> None:
    """Print the report as JSON where it was asked for."""
    if options.json:
        print(json.dumps(report))
