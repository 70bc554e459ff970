"""What the Prefect UI shows of a run: the plan, a stage's figures, its pictures, the key figures at the end."""

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from prefect.artifacts import create_markdown_artifact

from irgen.pipeline import Outcome, PlanLine

PICTURES = (".png", ".jpg")
PICTURE_WIDTH_PX = 640
SHEET_ROWS = 4


def publish(dataset: str, outcome: Outcome) -> None:
    """Show a stage's figures and the pictures that lie at the top of its output."""
    stage = outcome.ref.stage
    how = "reused" if outcome.reused else f"made in {outcome.seconds:.1f} s"
    parts = [f"# {stage}\n\n{how}: `{outcome.ref.path}`", table(("figure", "value"), flat(outcome.figures))]
    parts += [embedded(path.stem, image) for path, image in _pictures(outcome.ref.folder)]
    create_markdown_artifact("\n\n".join(parts), key=key(dataset, stage), description=f"{stage} of {dataset}")


def publish_plan(dataset: str, lines: Sequence[PlanLine]) -> None:
    """Show what a run is about to reuse or redo, and why."""
    rows = [(line.stage, line.action, line.reason) for line in lines]
    create_markdown_artifact(table(("stage", "action", "why"), rows), key=key(dataset, "plan"), description="The plan")


def publish_summary(dataset: str, summary: Mapping[str, Any], report: Path) -> None:
    """Show a finished dataset's key figures and where its report lies."""
    text = f"Report: `{report}`\n\n" + table(("figure", "value"), flat(summary))
    create_markdown_artifact(text, key=key(dataset, "summary"), description=f"Key figures of {dataset}")


def key(dataset: str, name: str) -> str:
    """Name an artifact: Prefect takes lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9-]", "-", f"{dataset}-{name}")


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested figures as rows, the names joined by dots; lists longer than a line are left out."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list) or len(value) <= 8:
            yield f"{prefix}{name}", value


def table(header: Sequence[str], rows: Iterator[tuple[Any, ...]] | Sequence[tuple[Any, ...]]) -> str:
    """Write a markdown table."""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def embedded(name: str, image: Image.Image) -> str:
    """Embed a picture, made small, in markdown: the UI does not load file:// addresses."""
    small = image.convert("RGB")
    small.thumbnail((PICTURE_WIDTH_PX, 2 * PICTURE_WIDTH_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"![{name}](data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def _pictures(folder: Path) -> Iterator[tuple[Path, Image.Image]]:
    """Yield the pictures at the top of an output, and of a sharded one a sheet of its first images."""
    for path in sorted(folder.iterdir()):
        if path.suffix in PICTURES:
            with Image.open(path) as image:
                yield path, image
    if (folder / "shards").is_dir():
        from irgen import shards  # not at the top: it loads pandas, and flows must import in a second

        tiles = [
            Image.open(io.BytesIO(record.image)) for record in islice(shards.read(folder), SHEET_ROWS * SHEET_ROWS)
        ]
        if tiles:
            yield folder / "sheet", _sheet(tiles)


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    width, height = tiles[0].size
    sheet = Image.new("RGB", (SHEET_ROWS * width, -(-len(tiles) // SHEET_ROWS) * height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % SHEET_ROWS * width, number // SHEET_ROWS * height))
    return sheet


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
