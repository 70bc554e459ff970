"""COCO: `annotations.json` beside `images/`.

An ignore box has `iscrowd` 1, as pycocotools understands it: a detection inside it (by intersection over the
detection's area) is neither hit nor miss. There are no masks, hence no `segmentation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from irgen import files
from irgen.records import LabelledBox
from irgen.shards.dataset import Dataset, Labelled

NOTES = """\
`annotations.json` is COCO's object detection format, its images lie in `images/`. Ignore boxes have `iscrowd` 1 and
`ignore` 1. Every annotation also says its `score`, `source` and `teacher_iou`.

```python
import pycocotools.coco
truth = pycocotools.coco.COCO("annotations.json")
print(len(truth.getImgIds()), len(truth.getAnnIds(iscrowd=False)), len(truth.getAnnIds(iscrowd=True)))
```
"""


def write(dataset: Dataset, images: Iterable[Labelled], folder: Path) -> None:
    """Write the images and `annotations.json`.

    Args:
        dataset: for the classes and the name.
        images: what to write.
        folder: empty.
    """
    (folder / "images").mkdir()
    numbers = {name: number for number, name in enumerate(dataset.classes, start=1)}
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for each in images:
        (folder / "images" / each.file_name).write_bytes(each.record.image)
        # COCO's ids begin at 1: some of its readers take 0 for none.
        image_id = int(each.key) + 1
        rows.append(
            {
                "id": image_id,
                "file_name": f"images/{each.file_name}",
                "width": each.width_px,
                "height": each.height_px,
                "caption": each.record.caption,
                "agreement": each.agreement,
            }
        )
        for crowd, boxes in enumerate((each.boxes, each.ignored)):
            for box in boxes:
                annotations.append(_annotation(len(annotations) + 1, image_id, numbers[box.label], box, crowd))
    document = {
        "info": {"description": dataset.name, "version": str(dataset.manifest["fingerprint"])},
        "licenses": [],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "images": rows,
        "annotations": annotations,
    }
    (folder / "annotations.json").write_bytes(files.json_bytes(document))


def _annotation(number: int, image: int, category: int, box: LabelledBox, crowd: int) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [box.x_px, box.y_px, box.w_px, box.h_px],
        "area": box.w_px * box.h_px,
        "iscrowd": crowd,
        "ignore": crowd,
        "score": box.score,
        "source": box.source,
        "teacher_iou": box.teacher_iou,
    }
