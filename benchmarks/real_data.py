"""The real data that benchmarks measure on, where they lie beside the project."""

from __future__ import annotations

import json
import sys
from pathlib import Path

DATA = Path(__file__).parents[2] / "shared" / "data"
"""As the tests marked `shared` look for it."""


def kaist(modality: str) -> list[Path]:
    """List KAIST's frames, `lwir` or `visible`."""
    return sorted(DATA.glob(f"kaist/images/*/*/{modality}/*.jpg"))


def hit_uav() -> list[Path]:
    """List HIT-UAV's infrared frames."""
    return sorted(DATA.glob("hit-uav/images/*/*.jpg"))


def skip_without(what: Path) -> None:
    """End the benchmark where data are absent, saying so as every benchmark that cannot run does."""
    if not what.exists():
        reason = f"no {what.relative_to(DATA.parent)} beside the project"
        print(f"skipped: {reason}")
        print(json.dumps({"skipped": reason}))
        sys.exit()
