"""An audit's images as sheets to look at: each enlarged, bare with a ruler, and beside it with its boxes, numbered.

    python benchmarks/audit_sheet.py data/miniature --n 64 --out sheets              # before the boxes are judged
    python benchmarks/audit_sheet.py data/miniature --n 8 --out sheets --answers     # and what was said of them

Images and their order are those of `irgen audit DATASET --n N --seed SEED`. Solid boxes are there to be learnt, dashed
ones are to be ignored; with `--answers` accepted ones are green, rejected ones red, moved ones orange with the old
place thin, and added objects blue.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from irgen.audit import Session, open_session
from irgen.audit.answers import Place
from irgen.audit.session import Subject
from irgen.records import LabelledBox

GAP_PX, TEXT_PX = 14, 30
TICK = 10
"""Pixels of the image between marks of the ruler."""
BRIGHTEST = 99.5
"""Percentile of an image's gray levels that is shown as white: infrared is dark."""
OPEN = "#ffd400"
COLOURS = {"open": OPEN, "accept": "#30e070", "reject": "#ff4040", "fix": "#ff9a20"}
ADDED = "#50a0ff"


def sheet(session: Session, subjects: list[Subject], columns: int, enlarge: int, *, answered: bool) -> Image.Image:
    """Draw some of an audit's images."""
    tiles = [tile(session, each, enlarge, answered=answered) for each in subjects]
    width, height = tiles[0].width + GAP_PX, tiles[0].height + GAP_PX
    page = Image.new("RGB", (width * columns, height * -(-len(tiles) // columns)), "white")
    for number, one in enumerate(tiles):
        page.paste(one, (number % columns * width, number // columns * height))
    return page


def tile(session: Session, subject: Subject, enlarge: int, *, answered: bool) -> Image.Image:
    """Draw an image twice, bare and with its boxes, under its caption."""
    with Image.open(io.BytesIO(session.image(subject.key))) as encoded:
        levels = np.asarray(encoded.convert("L"), np.float64)
    levels = (levels * 255 / max(1.0, np.percentile(levels, BRIGHTEST))).clip(0, 255)
    size = subject.width_px * enlarge, subject.height_px * enlarge
    bare = Image.fromarray(levels.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    boxed = bare.copy()
    _mark(ImageDraw.Draw(boxed), session, subject, enlarge, answered=answered)
    made = Image.new("RGB", (2 * size[0] + GAP_PX // 2, size[1] + TEXT_PX), "white")
    _ruler(ImageDraw.Draw(bare), subject, enlarge)
    for number, one in enumerate((bare, boxed)):
        made.paste(one, (number * (size[0] + GAP_PX // 2), TEXT_PX))
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(12)
    draw.text((2, 0), f"{subject.key}   agreement {subject.agreement:.2f}", "black", font)
    draw.text((2, 14), subject.caption, "black", font)
    return made


def _mark(draw: ImageDraw.ImageDraw, session: Session, subject: Subject, enlarge: int, *, answered: bool) -> None:
    answer = session.answers.get(subject.key) if answered else None
    for number, box in enumerate(subject.boxes):
        said = answer.verdicts[number] if answer else None
        colour = COLOURS[said.verdict] if said else OPEN
        name = f"{number} {box.label[:2]}"
        if said and said.verdict == "fix":
            _outline(draw, box, enlarge, colour, "", dashed=True)
            _outline(draw, said.place, enlarge, colour, name, dashed=False)
        else:
            _outline(draw, box, enlarge, colour, name, dashed=box.ignore)
    for place in answer.added if answer else ():
        _outline(draw, place, enlarge, ADDED, f"+ {place.label[:2]}", dashed=False)


def _outline(
    draw: ImageDraw.ImageDraw, place: LabelledBox | Place, enlarge: int, colour: str, name: str, *, dashed: bool
) -> None:
    x0, y0 = place.x_px * enlarge, place.y_px * enlarge
    x1, y1 = x0 + place.w_px * enlarge, y0 + place.h_px * enlarge
    if dashed:
        for start, end in _dashes((x0, y0, x1, y1)):
            draw.line([start, end], colour)
    else:
        draw.rectangle((x0, y0, x1, y1), outline=colour)
    draw.text((x0 + 1, y0 - 12 if y0 > 12 else y1), name, colour, ImageFont.load_default(11))


def _dashes(corners: tuple[float, float, float, float], on: int = 4) -> Iterator[tuple[tuple[float, float], ...]]:
    x0, y0, x1, y1 = corners
    for x in np.arange(x0, x1, 2 * on):
        for y in (y0, y1):
            yield (x, y), (min(x + on, x1), y)
    for y in np.arange(y0, y1, 2 * on):
        for x in (x0, x1):
            yield (x, y), (x, min(y + on, y1))


def _ruler(draw: ImageDraw.ImageDraw, subject: Subject, enlarge: int) -> None:
    font = ImageFont.load_default(9)
    for x in range(TICK, subject.width_px, TICK):
        draw.line([(x * enlarge, 0), (x * enlarge, 5)], OPEN)
        draw.text((x * enlarge - 5, 5), str(x), OPEN, font)
    for y in range(TICK, subject.height_px, TICK):
        draw.line([(0, y * enlarge), (5, y * enlarge)], OPEN)
        draw.text((7, y * enlarge - 6), str(y), OPEN, font)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--enlarge", type=int, default=5)
    parser.add_argument("--columns", type=int, default=1)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--answers", action="store_true")
    asked = parser.parse_args()
    session = open_session(asked.dataset, asked.n, asked.seed)
    subjects = list(session.subjects.values())
    asked.out.mkdir(parents=True, exist_ok=True)
    each = asked.rows * asked.columns
    for number, start in enumerate(range(0, len(subjects), each)):
        shown = subjects[start : start + each]
        page = sheet(session, shown, asked.columns, asked.enlarge, answered=asked.answers)
        page.save(asked.out / f"{number:02d}.png", optimize=True)


if __name__ == "__main__":
    main()
