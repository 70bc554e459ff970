"""Hugging Face: WebDataset shards, and a card whose `features` give every column its type.

Without `features`, `datasets` takes the schema from the first five samples, and an image without boxes there breaks
the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from irgen.shards.dataset import Dataset, Labelled
from irgen.shards.tar import TarWriter

IMAGES_PER_SHARD = 1000
DATA = "data"
NOTES = """\
WebDataset shards in `data/`. `objects` is what transformers' object detection examples read; `category` is a class
label, `bbox` is x, y, width, height in pixels, and an object with `ignore` is neither object nor background.

```python
import os, datasets
for row in datasets.load_dataset(os.getcwd(), split="train"):
    print(row["{image_format}"].size, row["json"]["caption"], row["json"]["objects"]["bbox"])
```
"""


def write(dataset: Dataset, images: Iterable[Labelled], folder: Path) -> None:
    """Write the shards.

    Args:
        dataset: unused; its classes are in the card.
        images: what to write.
        folder: empty.
    """
    (folder / DATA).mkdir()
    with ExitStack() as stack:
        for number, each in enumerate(images):
            if number % IMAGES_PER_SHARD == 0:
                stack.close()
                tar = TarWriter(folder / DATA / f"train-{number // IMAGES_PER_SHARD:05d}.tar")
                stack.callback(tar.close)
            tar.add(each.file_name, each.record.image)
            tar.add(f"{each.key}.json", json.dumps(sheet(each), ensure_ascii=False, sort_keys=True).encode())


def header(dataset: Dataset, image_format: str) -> dict[str, Any]:
    """Return what the card's header says of the data: where they are, and the type of each column.

    Args:
        dataset: for the classes.
        image_format: png or jpg.
    """
    return {
        "configs": [{"config_name": "default", "data_files": f"{DATA}/*.tar"}],
        "dataset_info": {"features": list(_features(dataset.classes, image_format))},
    }


def sheet(each: Labelled) -> dict[str, Any]:
    """Return an image's `.json`: of one shape, whatever it shows."""
    boxes = [(box, False) for box in each.boxes] + [(box, True) for box in each.ignored]
    return {
        "caption": each.record.caption,
        "width": each.width_px,
        "height": each.height_px,
        "score": float(each.record.sheet["score"]),
        "agreement": each.agreement,
        "label_mode": each.mode,
        "objects": {
            "id": list(range(len(boxes))),
            "bbox": [[box.x_px, box.y_px, box.w_px, box.h_px] for box, _ in boxes],
            "area": [box.w_px * box.h_px for box, _ in boxes],
            "category": [box.label for box, _ in boxes],
            "score": [box.score for box, _ in boxes],
            "source": [box.source for box, _ in boxes],
            "ignore": [ignore for _, ignore in boxes],
        },
    }


def _features(classes: list[str], image_format: str) -> Iterator[dict[str, Any]]:
    """Yield the columns as a card's header spells them."""
    category = {"class_label": {"names": {str(number): name for number, name in enumerate(classes)}}}
    kinds = {"id": "int64", "area": "float64", "score": "float64", "source": "string", "ignore": "bool"}
    objects: list[dict[str, Any]] = [{"name": name, "list": kind} for name, kind in kinds.items()]
    objects += [{"name": "bbox", "list": {"list": "float64", "length": 4}}, {"name": "category", "list": category}]
    plain = {
        "caption": "string",
        "width": "int64",
        "height": "int64",
        "score": "float64",
        "agreement": "float64",
        "label_mode": "string",
    }
    fields: list[dict[str, Any]] = [{"name": name, "dtype": kind} for name, kind in plain.items()]
    yield {"name": image_format, "dtype": "image"}
    yield {"name": "json", "struct": [*fields, {"name": "objects", "struct": objects}]}
    yield from ({"name": name, "dtype": "string"} for name in ("__key__", "__url__"))
