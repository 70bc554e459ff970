"""Boxes and images that tests of labels are about."""

from pathlib import Path

import numpy as np
from PIL import Image

from irgen import records, store
from irgen.records import Box, Frame, LabelledBox
from irgen.settings import FramesSettings
from irgen.sources import MINIATURE_RAW

HEIGHT_PX, WIDTH_PX = 32, 48


def found(
    x: float, y: float = 4, w: float = 8, h: float = 16, score: float = 0.8, label: str = "person"
) -> LabelledBox:
    return LabelledBox(label, float(x), float(y), float(w), float(h), score, "teacher", 0.0, False)


def true(x: float, y: float = 4, w: float = 8, h: float = 16, label: str = "person", ignore: bool = False) -> Box:
    return Box(label, float(x), float(y), float(w), float(h), ignore=ignore)


def scenes(count: int, seed: int = 0) -> tuple[np.ndarray, list[list[Box]]]:
    """Dark noise with bright upright boxes (persons) and flat ones (cars): uint8 [N, 32, 48] and their boxes."""
    random = np.random.default_rng(seed)
    images = random.normal(60, 6, (count, HEIGHT_PX, WIDTH_PX))
    boxes: list[list[Box]] = []
    for image in images:
        own = []
        for left in (2, 26):
            if random.random() < 0.7:
                label, (w, h) = ("person", (7, 16)) if random.random() < 0.6 else ("car", (18, 9))
                x, y = left + int(random.integers(0, 20 - w + 1)), int(random.integers(2, HEIGHT_PX - h - 2))
                image[y : y + h, x : x + w] += 120
                own.append(Box(label, float(x), float(y), float(w), float(h)))
        boxes.append(own)
    return images.clip(0, 255).astype(np.uint8), boxes


def frames_output(folder: Path, *, annotated: bool = True) -> Path:
    """Make an output of stage frames: scenes in twelve videos, half of them to train, a crowd in each."""
    raw = folder / MINIATURE_RAW
    raw.mkdir(parents=True)
    rows = []
    for number, (image, own) in enumerate(zip(*scenes(12), strict=True)):
        Image.fromarray(image).save(raw / f"{number}.png")
        split = ("train", "train", "val", "test")[number % 4]
        boxes = (*own, Box("people", 0, 0, 5, 5, ignore=True)) if annotated else ()
        rows.append(
            Frame(f"f{number:02d}", "kaist", split, "set00", f"V{number}", "day", "road", "", f"{number}.png", "", "",
                  WIDTH_PX, HEIGHT_PX, boxes)
        )  # fmt: skip
    records.write_rows(folder / "frames.parquet", rows, Frame.SCHEMA)
    settings = {"frames": FramesSettings(source="miniature").model_dump(mode="json")}
    document = {"stage": "frames", "version": 1, "fingerprint": "f", "settings": settings, "inputs": {}, "figures": {}}
    store.write_manifest(folder, document, store.listing(folder))
    return folder
