"""A small finished dataset with boxes, made by stage 08 from outputs that lie as a run leaves them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from irgen import pipeline, records, store
from irgen.records import Caption
from irgen.settings import Manifest, ShardsSettings
from irgen.shards import Sample, ShardedOutput
from irgen.stages.labels import SCHEMA
from irgen.stages.samples import CANDIDATES, COLUMNS

IMAGES, PER_SHARD, FAILED = 23, 4, 9
EMPTY = 6
"""So many first images have no box: more than Hugging Face looks at to infer a schema."""
WIDTH_PX, HEIGHT_PX = 48, 32
CLASSES = ["cyclist", "person"]
RUN = {"base": "base-1", "adapter": "adapter-1", "verifier": "verifier-1", "algorithm": "random", "steps": 4}


def kept() -> list[int]:
    """Numbers of the images that could be made."""
    return [number for number in range(IMAGES) if number != FAILED]


def key(number: int) -> str:
    return f"{number:09d}"


def pixels(number: int) -> np.ndarray:
    """A dark street with its number in every pixel and something warm in each box."""
    image = np.full((HEIGHT_PX, WIDTH_PX, 3), number, np.uint8)
    for box in boxes(number):
        top, left = int(box["y_px"]), int(box["x_px"])
        image[top : top + int(box["h_px"]), left : left + int(box["w_px"])] = 200
    return image


def encoded(number: int, image_format: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(number)).save(stream, "PNG" if image_format == "png" else "JPEG")
    return stream.getvalue()


def box(label: str = "person", x: float = 4, y: float = 6, w: float = 8.5, h: float = 16.25, **changes) -> dict:
    made = {"label": label, "x_px": float(x), "y_px": float(y), "w_px": float(w), "h_px": float(h)}
    return made | {"score": 0.9, "source": "teacher", "teacher_iou": 0.8, "ignore": False} | changes


def boxes(number: int) -> list[dict]:
    """Up to two boxes, the second of a lower score, and on every fourth image one to ignore."""
    if number < EMPTY:
        return []
    found = [box(), box("cyclist", 20, 4, 10, 20, score=0.5)][: number % 3]
    return found + [box(x=38, y=10, w=10, h=8, score=0.4, teacher_iou=0.0, ignore=True)] * (number % 4 == 0)


def agreement(number: int) -> float:
    return 1.0 - number % 5 / 5


def labels_of(number: int) -> dict:
    return {"key": key(number), "mode": "teacher", "boxes": boxes(number), "agreement": agreement(number)}


def unlabelled(number: int) -> dict:
    return {"key": key(number), "mode": "none", "boxes": [], "agreement": 1.0}


def write_inputs(root: Path, image_format: str = "png", *, labelled: bool = True) -> dict[str, Path]:
    """Write finished outputs of the stages before, each in `NN-stage/<fingerprint>`; return the folders."""
    stages = {"frames": "01", "captions": "02", "samples": "06", "labels": "07"}
    folders = {name: root / f"{number}-{name}" / (number * 8) for name, number in stages.items()}
    for folder in folders.values():
        folder.mkdir(parents=True)
    captions = [Caption(f"f{n}", "train", f"scene {n}", "", "", "rules", 9, False) for n in range(3)]
    records.write_rows(folders["captions"] / "captions.parquet", captions, Caption.SCHEMA)
    tables = {"candidates": CANDIDATES}
    output = ShardedOutput.open(
        folders["samples"], run=RUN, items=IMAGES, per_shard=PER_SHARD, columns=COLUMNS, tables=tables
    )
    for number in output.pending():
        with output.shard(number) as shard:
            for index in output.items(number):
                shard.add(sample(index, image_format))
    output.finish()
    rows = [labels_of(number) if labelled else unlabelled(number) for number in kept()]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folders["labels"] / "labels.parquet")
    for name, folder in folders.items():
        seal(folder, name, image_format, CLASSES if labelled else [])
    return folders


def seal(folder: Path, stage: str, image_format: str = "png", classes: Sequence[str] = CLASSES) -> None:
    manifest = Manifest(
        dataset="tiny", frames={"source": "miniature"}, samples={"image_format": image_format}
    ).model_dump(mode="json")
    document = {"stage": stage, "version": 1, "fingerprint": folder.name, "settings": manifest, "inputs": {}}
    figures = {"classes": list(classes)} if stage == "labels" else {}
    store.write_manifest(folder, {**document, "figures": figures}, store.listing(folder))


def filled(schema: pa.Schema) -> dict:
    """A row of no meaning."""
    values = {pa.float64(): 0.5, pa.int32(): 1, pa.string(): ""}
    return {name: values[kind] for name, kind in zip(schema.names, schema.types, strict=True)}


def sample(index: int, image_format: str = "png") -> Sample:
    row = filled(COLUMNS) | {"frame_id": f"f{index}", "prompt": f"An INFRARED photo of scene {index}"}
    if index == FAILED:
        return Sample(index, b"", image_format, {}, "", row, {"candidates": []}, reason="flat image")
    sheet = row | {"key": key(index), "caption": f"scene {index}", "noise": '{"seed": "1"}'}
    image = encoded(index, image_format)
    return Sample(index, image, image_format, sheet, f"scene {index}", row, {"candidates": []})


def finished(root: Path, *, image_format: str = "png", labelled: bool = True) -> Path:
    """Make a dataset with everything up to stage 08 and return its folder."""
    folders = write_inputs(root, image_format, labelled=labelled)
    refs = {name: store.ref(folder) for name, folder in folders.items()}
    settings = ShardsSettings(description="Streets by night.")
    pipeline.run_stage(pipeline.stage_named("shards"), root, {"shards": settings}, refs)
    return root
