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
        sheet: the score sheet, JSON-able, with the same fields in every sample and no nulls.
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


def key(index: int) -> str:
    """Return an item's key."""
    return f"{index:0{KEY_DIGITS}d}"
