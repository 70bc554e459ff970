"""What commands ask for alike, and how they show figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST.yaml", help="What to build; see manifests/.")]
Data = Annotated[Path, typer.Option("--data", envvar="IRGEN_DATA", help="Folder that holds all datasets.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested figures with dotted names."""
    rows: dict[str, Any] = {}
    for name, value in figures.items():
        rows |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return rows


def short(value: Any) -> str:
    """Return a figure as a table shows it."""
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
