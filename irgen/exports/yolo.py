"""YOLO: `images/`, `labels/` and `data.yaml`, as Ultralytics reads them.

A label file has a line an object: class number, centre x and y, width and height, all as shares of the image. An image
without objects has an empty one. There is no line for a box to ignore.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from irgen.records import LabelledBox
from irgen.shards.dataset import Dataset, Labelled

SPLIT = "train"
HEADER = """\
# Infrared is one channel. `path` is left out: paths are relative to this file.
# Point `val` at real frames: how well generated images are found says nothing about real ones.
"""
NOTES = """\
`data.yaml` is what Ultralytics' trainers take (`channels: 1`), with a label file an image. **Point `val` at real
frames before you train**: it names the generated images here, because the format demands a validation set.
"""


def write(dataset: Dataset, images: Iterable[Labelled], folder: Path) -> None:
    """Write images, label files and `data.yaml`.

    Args:
        dataset: for the classes.
        images: what to write.
        folder: empty.
    """
    for part in ("images", "labels"):
        (folder / part / SPLIT).mkdir(parents=True)
    numbers = {name: number for number, name in enumerate(dataset.classes)}
    for each in images:
        (folder / "images" / SPLIT / each.file_name).write_bytes(each.record.image)
        # A set: Ultralytics warns of lines that are there twice.
        lines = sorted({line(numbers[box.label], box, each.width_px, each.height_px) for box in each.boxes})
        (folder / "labels" / SPLIT / f"{each.key}.txt").write_text("".join(f"{one}\n" for one in lines))
    document = {
        "train": f"images/{SPLIT}",
        "val": f"images/{SPLIT}",
        "channels": 1,
        "nc": len(numbers),
        "names": {number: name for name, number in numbers.items()},
    }
    (folder / "data.yaml").write_text(HEADER + yaml.safe_dump(document, sort_keys=False))


def line(number: int, box: LabelledBox, width_px: int, height_px: int) -> str:
    """Return a label file's line for a box: shares of the image, within 0 and 1."""
    shares = (
        (box.x_px + box.w_px / 2) / width_px,
        (box.y_px + box.h_px / 2) / height_px,
        box.w_px / width_px,
        box.h_px / height_px,
    )
    return " ".join([str(number), *(f"{min(share, 1.0):.6f}" for share in shares)])
