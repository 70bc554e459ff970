"""One item of a shard: an image with its score sheet and caption, or a tombstone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from irgen.shards.tar import TarWriter

KEY_DIGITS = 9

BOXES = "boxes"
"""The one list of a score sheet that may be empty: what a box is, is known."""
SHEET_BOXES = f"sheet.{BOXES}"
BOX = {
    "label": "str",
    **dict.fromkeys(("x_px", "y_px", "w_px", "h_px", "score", "teacher_iou"), "float"),
    "source": "str",
    "ignore": "bool",
}

META = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("member", pa.string()),
        ("sha256", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
"""What every item's row says: ok or failed and why; the image's member, digest and place of its data in the tar."""


@dataclass(frozen=True)
class Sample:
    """What one item brings.

    Attributes:
        index: its number in the whole output.
        image: the encoded file, b"" for a tombstone.
        image_format: png or jpg.
        sheet: the score sheet; of the same `shape` in every sample.
        caption: bare.
        row: values of the output's own columns.
        tables: rows of further tables, by name.
        reason: why it failed, "" where it did not.
    """

    index: int
    image: bytes
    image_format: Literal["png", "jpg"]
    sheet: Mapping[str, Any]
    caption: str
    row: Mapping[str, Any]
    tables: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    reason: str = ""

    @property
    def key(self) -> str:
        """Name of its members, without a dot."""
        return key(self.index)

    def members(self) -> dict[str, bytes]:
        """Return the tar members; a tombstone has none."""
        if not self.image:
            return {}
        sheet = json.dumps(self.sheet, ensure_ascii=False, allow_nan=False, sort_keys=True)
        return {
            f"{self.key}.{self.image_format}": self.image,
            f"{self.key}.json": sheet.encode(),
            f"{self.key}.txt": self.caption.encode(),
        }

    def write(self, tar: TarWriter) -> dict[str, Any]:
        """Add the members to a tar and return the item's row."""
        members = self.members()
        offsets = [tar.add(name, data) for name, data in members.items()]
        return {
            **self.row,
            "key": self.key,
            "status": "ok" if members else "failed",
            "reason": self.reason,
            "member": next(iter(members), ""),
            "sha256": hashlib.sha256(self.image).hexdigest() if members else "",
            "offset": offsets[0] if members else 0,
            "bytes": len(self.image),
        }


def shape(value: Any, name: str = "sheet") -> Any:
    """Return the structure that readers infer from a score sheet: its fields and their types.

    Hugging Face `datasets` takes the schema of a whole dataset from its first five samples: a null or an empty list
    there has no type, and breaks on the first sample that has one.

    Args:
        value: the sheet, or a part of it.
        name: of that part, for errors.

    Raises:
        ValueError: a null, an empty list, a list of several types, or something that is not JSON.
    """
    if name == SHEET_BOXES:
        if any(shape(box, f"{name}[]") != BOX for box in value):
            raise ValueError(f"{name} = {value}: not all are boxes, with {', '.join(BOX)}")
        return [BOX]
    # First what most of a sheet is; bool before int, of which it is a kind.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind.__name__
    if isinstance(value, Mapping):
        return {str(field): shape(part, f"{name}.{field}") for field, part in sorted(value.items())}
    if isinstance(value, list | tuple):
        parts = [shape(part, f"{name}[{place}]") for place, part in enumerate(value)]
        if not parts or any(part != parts[0] for part in parts):
            raise ValueError(f"{name} = {value}: a list in a score sheet needs elements, all of one type")
        return parts[:1]
    raise ValueError(f"{name} = {value!r}: a score sheet holds numbers, words and mappings only, and no nulls")


def key(index: int) -> str:
    """Return an item's key."""
    return f"{index:0{KEY_DIGITS}d}"
