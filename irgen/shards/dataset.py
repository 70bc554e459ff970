"""A finished dataset as its users meet it: images with boxes, stricter than stored where they ask for it.

A box whose score is under `min_score` becomes an *ignore* box, not background: something may be there. An image whose
labels agree too little with its caption is left out. Both are asked when the dataset is read; nothing is made anew.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from irgen import places, store
from irgen.errors import SettingsError, StoreError
from irgen.places import REMAKE, Folder, Place
from irgen.records import LabelledBox
from irgen.shards.committed import SHARDS
from irgen.shards.reader import Record, read

INDEX = "index.parquet"
UNLABELLED = "none"
"""Label mode of an image that nobody labelled."""
EDGE_PX = 1e-3
"""A box that reaches further over the image's border than this is not one of it."""


@dataclass(frozen=True)
class Thresholds:
    """How strict a reader is.

    Attributes:
        min_score: boxes under it become ignore boxes; 0 to 1.
        min_agreement: images whose labels agree less with the caption are left out; 0 to 1.
    """

    min_score: float = 0.0
    min_agreement: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} = {value} is not between 0 and 1", "0 takes everything.")

    def take(self, agreement: float) -> bool:
        """Say whether an image of this agreement is taken."""
        return agreement >= self.min_agreement

    def split(self, boxes: list[LabelledBox]) -> tuple[list[LabelledBox], list[LabelledBox]]:
        """Return the boxes to learn from, and those that are neither object nor background."""
        trusted = [box for box in boxes if not box.ignore and box.score >= self.min_score]
        return trusted, [box for box in boxes if box not in trusted]


@dataclass(frozen=True)
class Labelled:
    """An image of a dataset under thresholds.

    Attributes:
        record: encoded file, score sheet, caption.
        width_px, height_px: of the image.
        channels: 3, or 1 of a gray file.
        boxes: to learn from.
        ignored: neither object nor background.
        mode: how it was labelled, "none" where nobody did.
        agreement: of its boxes with the caption.
    """

    record: Record
    width_px: int
    height_px: int
    channels: int
    boxes: list[LabelledBox]
    ignored: list[LabelledBox]
    mode: str
    agreement: float

    @property
    def key(self) -> str:
        """Its name."""
        return self.record.key

    @property
    def file_name(self) -> str:
        """Its name as a file."""
        return f"{self.record.key}.{self.record.image_format}"


@dataclass(frozen=True)
class Dataset:
    """A finished output of stage shards.

    Attributes:
        place: where it lies.
        manifest: its own.
        sizes: bytes of the files that lie there, by name.
    """

    place: Place
    manifest: Mapping[str, Any]
    sizes: Mapping[str, int]

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """Open a dataset's folder (its newest finished shards), one output of stage shards, or what was pushed of one.

        Raises:
            StoreError: nothing there, no finished shards in it, those of an earlier irgen, or a damaged index.
        """
        place = places.at(path) if places.is_url(path) else Folder(find(Path(path)))
        sizes = place.sizes()
        if store.MANIFEST not in sizes:
            raise StoreError(f"{place}: holds no finished dataset (no {store.MANIFEST})", place.mend)
        where = f"{place}/{store.MANIFEST}"
        dataset = cls(place, store.parse_manifest(place.read(store.MANIFEST), where, place.mend), sizes)
        if dataset.manifest["stage"] != "shards":
            raise StoreError(f"{place}: an output of {dataset.manifest['stage']}, not of shards", "Name a dataset.")
        if "labels" not in dataset.manifest["figures"]:
            raise StoreError(
                f"{place}: made by an earlier irgen, which knew no boxes",
                "`irgen run` its manifest again: what has not changed is reused.",
            )
        return dataset

    @property
    def folder(self) -> Path:
        """Where it lies, for what works in a folder only.

        Raises:
            StoreError: it lies on object storage.
        """
        return self.place.folder

    @cached_property
    def index(self) -> pa.Table:
        """Rows of the images that could be made.

        Raises:
            StoreError: missing or damaged.
        """
        [listed] = [row["sha256"] for row in self.manifest["files"] if row["path"] == INDEX] or [""]
        data = self.place.read(INDEX) if INDEX in self.sizes else b""
        if hashlib.sha256(data).hexdigest() != listed:
            raise StoreError(f"{self.place}/{INDEX}: missing or damaged", self.place.mend)
        return pq.read_table(pa.BufferReader(data), filters=[("status", "=", "ok")])

    def tars(self) -> list[str]:
        """Return the names of the tars, in order, each there in its full length.

        Raises:
            StoreError: one is missing or cut.
        """
        rows = [row for row in self.manifest["files"] if row["path"].startswith(f"{SHARDS}/")]
        for row in rows:
            if (size := self.sizes.get(row["path"])) != row["bytes"]:
                wrong = "missing" if size is None else f"is not of its {row['bytes']} bytes"
                raise StoreError(f"{self.place}/{row['path']}: {wrong}", self.place.mend)
        return sorted(row["path"] for row in rows)

    @property
    def classes(self) -> list[str]:
        """Names of the classes; their order gives the numbers."""
        return list(self.manifest["figures"]["labels"]["classes"])

    @property
    def name(self) -> str:
        """Of the dataset that the shards are of."""
        return self.folder.absolute().parent.parent.name

    @property
    def labelled(self) -> bool:
        """Whether any image was labelled."""
        return any(mode != UNLABELLED for mode in self.index["label_mode"].unique().to_pylist())

    def read(self, thresholds: Thresholds) -> Iterator[Labelled]:
        """Yield the images that are taken, in order.

        Raises:
            StoreError: a shard is damaged, or a box is of no use.
        """
        wanted = ("key", "boxes", "agreement", "label_mode")
        for record, row in zip_longest(read(self.folder), self._rows(wanted)):
            if record is None or row is None or record.key != row["key"]:
                raise StoreError(f"{self.folder / INDEX}: does not list the images of the shards", REMAKE)
            if not thresholds.take(row["agreement"]):
                continue
            with Image.open(io.BytesIO(record.image)) as image:
                (width_px, height_px), channels = image.size, len(image.getbands())
            boxes = [LabelledBox(**box) for box in row["boxes"]]
            for number, box in enumerate(boxes):
                if reason := flaw(box, width_px, height_px, self.classes):
                    raise StoreError(f"{self.folder}: box {number} of image {record.key}: {reason[1]}", REMAKE)
            trusted, ignored = thresholds.split(boxes)
            mode, agreement = row["label_mode"], row["agreement"]
            yield Labelled(record, width_px, height_px, channels, trusted, ignored, mode, agreement)

    def _rows(self, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        for batch in self.index.select(columns).to_batches():
            yield from batch.to_pylist()


def image_of(place: Place, row: Mapping[str, Any]) -> bytes:
    """Return an image's encoded file by its row of the index, without reading its shard.

    Raises:
        StoreError: it was changed.
    """
    data = place.read_range(row["shard"], row["offset"], row["bytes"])
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise StoreError(f"{place}/{row['shard']}: {row['member']} was changed", place.mend)
    return data


def find(path: Path) -> Path:
    """Return the output of stage shards that a path names, or the newest finished one in a dataset's folder.

    Raises:
        StoreError: there is none.
    """
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder", "Name a dataset: data/miniature.")
    if (path / store.MANIFEST).exists():
        stage = store.read_manifest(path)["stage"]
        if stage != "shards":
            raise StoreError(f"{path}: an output of {stage}, not of shards", "Name the dataset: data/miniature.")
        return path
    for folder in sorted(path.glob("[0-9][0-9]-shards")):
        if latest := store.latest(folder):
            return latest.folder
    raise StoreError(f"{path}: has no finished shards", "`irgen run` its manifest first.")


def flaw(box: LabelledBox, width_px: int, height_px: int, classes: list[str]) -> tuple[str, str] | None:
    """Say what makes a box of no use: a word to count it by and a sentence, or None.

    Args:
        box: in the image's pixels.
        width_px: of the image.
        height_px: of the image.
        classes: that the dataset knows.
    """
    where = f"x {box.x_px:g}, y {box.y_px:g}, w {box.w_px:g}, h {box.h_px:g}"
    numbers = (box.x_px, box.y_px, box.w_px, box.h_px, box.score, box.teacher_iou)
    right_px, bottom_px = box.x_px + box.w_px, box.y_px + box.h_px
    if box.label not in classes:
        return "unknown_class", f"{box.label!r} is none of {', '.join(classes)}"
    if not all(map(math.isfinite, numbers)):
        return "not_finite", f"{box.label} at {where}, score {box.score:g}, has a value that is not finite"
    if box.w_px <= 0 or box.h_px <= 0:
        return "zero_size", f"{box.label} at {where} has no area"
    if min(box.x_px, box.y_px) < -EDGE_PX or right_px > width_px + EDGE_PX or bottom_px > height_px + EDGE_PX:
        return "box_outside", f"{box.label} at {where} is not within {width_px}x{height_px}"
    return None
