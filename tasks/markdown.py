"""Tables and pictures as markdown, of which artifacts are made."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

PICTURE_WIDTH_PX = 640


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


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
