"""The rows that flow between stages, and their Parquet schemas.

No field is ever null: what is not known is an empty string or an empty list, so that every reader infers one schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files

Split = Literal["train", "val", "test"]
Time = Literal["day", "night", ""]


@dataclass(frozen=True, slots=True)
class Box:
    """One annotated object.

    Attributes:
        label: class name as irgen spells it: person, people, cyclist, person?, car, ...
        x_px, y_px: left and top edge in the frame's pixels, 0 at the left and top border.
        w_px, h_px: extent, > 0.
        occlusion: 0 none, 1 partial, 2 heavy.
        ignore: neither a hit nor a miss for a detector (`people`, `person?` by default).
    """

    label: str
    x_px: float
    y_px: float
    w_px: float
    h_px: float
    occlusion: int = 0
    ignore: bool = False


BOX = pa.struct(
    [
        ("label", pa.string()),
        ("x_px", pa.float64()),
        ("y_px", pa.float64()),
        ("w_px", pa.float64()),
        ("h_px", pa.float64()),
        ("occlusion", pa.int32()),
        ("ignore", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """One object that was found in, or put into, a generated image.

    Attributes:
        label: class name.
        x_px, y_px: left and top edge in the image's pixels, 0 at the left and top border.
        w_px, h_px: extent, > 0.
        score: how sure the label is, 0 to 1.
        source: who made the box: "teacher", "inherit", "insert".
        teacher_iou: overlap of the two teachers' boxes, 0 where only one of them saw it.
        ignore: neither an object to learn nor background.
    """

    label: str
    x_px: float
    y_px: float
    w_px: float
    h_px: float
    score: float
    source: str
    teacher_iou: float
    ignore: bool


LABELLED_BOX = pa.struct(
    [
        ("label", pa.string()),
        ("x_px", pa.float64()),
        ("y_px", pa.float64()),
        ("w_px", pa.float64()),
        ("h_px", pa.float64()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("teacher_iou", pa.float64()),
        ("ignore", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One moment of a source: an LWIR image, a visible image, or (a *pair*) both, and its boxes.

    Attributes:
        id: unique within the source, "/"-separated, e.g. "set00/V003/I01379".
        source: adapter name, e.g. "kaist".
        split: "train" to learn from, "val" to calibrate on, "test" to be judged on; a whole video has one split.
        set: recording set ("set00"), or "".
        video: recording group; intervals are bootstrapped over it.
        time: "day", "night" or "" (unknown).
        place: "campus", "road", "downtown", ... or "".
        visible, lwir: paths relative to the source's root, "" where that modality is absent.
        visible_sha256, lwir_sha256: of the files' bytes, "" where absent (or with annotations only).
        width_px, height_px: of the images.
        boxes: in the frame's pixels.
    """

    id: str
    source: str
    split: Split
    set: str
    video: str
    time: Time
    place: str
    visible: str
    lwir: str
    visible_sha256: str
    lwir_sha256: str
    width_px: int
    height_px: int
    boxes: tuple[Box, ...] = ()

    @property
    def is_pair(self) -> bool:
        """True where both modalities are there."""
        return bool(self.visible and self.lwir)

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("split", pa.string()),
            ("set", pa.string()),
            ("video", pa.string()),
            ("time", pa.string()),
            ("place", pa.string()),
            ("visible", pa.string()),
            ("lwir", pa.string()),
            ("visible_sha256", pa.string()),
            ("lwir_sha256", pa.string()),
            ("width_px", pa.int32()),
            ("height_px", pa.int32()),
            ("boxes", pa.list_(BOX)),
        ]
    )

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build a frame from a Parquet row."""
        return cls(**{**row, "boxes": tuple(Box(**box) for box in row["boxes"])})


@dataclass(frozen=True, slots=True)
class Reject:
    """Something of a source that was not taken, and why.

    Attributes:
        item: frame id, or "frame id#box number".
        path: the offending file, relative to the root where it lies under it.
        reason: one of a closed list of words, e.g. "truncated_image"; counted in the command's output.
        detail: what exactly was wrong.
    """

    item: str
    path: str
    reason: str
    detail: str

    SCHEMA: ClassVar[pa.Schema] = pa.schema([(name, pa.string()) for name in ("item", "path", "reason", "detail")])

    def __post_init__(self) -> None:
        """Spell out bytes of a file's name that are no text: what is wrong with a file may be just that."""
        for name in ("item", "path", "detail"):
            text = getattr(self, name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, name, text)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build a reject from a Parquet row."""
        return cls(**row)


@dataclass(frozen=True, slots=True)
class Caption:
    """What a frame shows, in words, and the two forms that the verifier reads.

    Attributes:
        frame_id: the frame.
        split: the frame's.
        caption: e.g. "a downtown street at night with two people near on the left".
        infrared: "An INFRARED photo of " + caption.
        grayscale: "A GRAYSCALE photo of " + caption.
        origin: how it was made: "rules", "vlm+rules".
        tokens: CLIP tokens of the longer form, start and end included; at most 77.
        shortened: True where details were left out to fit.
    """

    frame_id: str
    split: Split
    caption: str
    infrared: str
    grayscale: str
    origin: str
    tokens: int
    shortened: bool

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("frame_id", pa.string()),
            ("split", pa.string()),
            ("caption", pa.string()),
            ("infrared", pa.string()),
            ("grayscale", pa.string()),
            ("origin", pa.string()),
            ("tokens", pa.int32()),
            ("shortened", pa.bool_()),
        ]
    )

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build a caption from a Parquet row."""
        return cls(**row)


@dataclass(frozen=True, slots=True)
class Negative:
    """An image that is not real infrared though it might pass for it.

    Attributes:
        frame_id: the frame it was made from.
        split: the frame's.
        kind: "gray", "inverted", "agc" or "rgb".
        path: relative to the negatives stage's folder.
        sha256: of the file.
    """

    frame_id: str
    split: Split
    kind: str
    path: str
    sha256: str

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [(name, pa.string()) for name in ("frame_id", "split", "kind", "path", "sha256")]
    )

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Build a negative from a Parquet row."""
        return cls(**row)


Row = Frame | Reject | Caption | Negative
R = TypeVar("R", Frame, Reject, Caption, Negative)


def write_rows(path: Path, rows: Iterable[Row], schema: pa.Schema, chunk_rows: int = 10_000) -> int:
    """Write records as one Parquet file, whole or not at all, a row group a chunk; return how many."""
    count = 0
    with (
        files.placed(path) as temporary,
        files.create(temporary) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        for chunk in _chunks(rows, chunk_rows):
            writer.write_table(pa.Table.from_pylist([_fields(row) for row in chunk], schema=schema))
            count += len(chunk)
    return count


def read_rows(path: Path, record: type[R]) -> list[R]:
    """Read the records of a Parquet file that `write_rows` made."""
    return [record.from_row(row) for row in pq.read_table(path).to_pylist()]


def _fields(row: Row | Box) -> dict[str, Any]:
    """Do as `dataclasses.asdict`, which copies every value in depth, in a seventh of its time."""
    fields = {field: getattr(row, field) for field in row.__slots__}
    if "boxes" in fields:
        fields["boxes"] = [_fields(box) for box in fields["boxes"]]
    return fields


def _chunks(rows: Iterable[Row], size: int) -> Iterator[Sequence[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
