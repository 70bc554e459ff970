"""Stage 01: read a source into frames.parquet, and what was not taken, with the reason, into rejects.parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irgen import records, sources
from irgen.errors import SourceError
from irgen.records import Frame, Reject
from irgen.settings import FramesSettings
from irgen.sources import miniature

VERSION = 1
FRAMES = "frames.parquet"
REJECTS = "rejects.parquet"


def externals(frames: FramesSettings) -> dict[str, str]:
    """Digest the raw data."""
    return sources.external_digests(frames)


def run(frames: FramesSettings, out: Path) -> dict[str, Any]:
    """Write frames.parquet (sorted by id) and rejects.parquet.

    Returns:
        frames, pairs, boxes a class, rejects a reason, and the name of the annotations that were taken.

    Raises:
        SourceError: the raw data is not there, of another layout, or has not one good frame.
    """
    root = sources.raw_root(frames, out)
    if frames.source == "miniature":
        miniature.draw(frames, root)
    tally = _Tally()
    records.write_rows(out / FRAMES, tally.frames(sources.read(frames, root), root), Frame.SCHEMA)
    records.write_rows(out / REJECTS, tally.rejects, Reject.SCHEMA)
    return {**tally.figures(), "annotations": sources.annotations_name(frames, root)}


@dataclass
class _Tally:
    """Counts frames on their way and sets rejects aside."""

    rejects: list[Reject] = field(default_factory=list)
    count: int = 0
    pairs: int = 0
    boxes: Counter[str] = field(default_factory=Counter)

    def frames(self, found: Iterable[Frame | Reject], root: Path) -> Iterator[Frame]:
        """Yield the frames alone.

        Raises:
            SourceError: there was none.
        """
        for item in found:
            if isinstance(item, Reject):
                self.rejects.append(item)
                continue
            self.count += 1
            self.pairs += item.is_pair
            self.boxes.update(box.label for box in item.boxes)
            yield item
        if not self.count:
            raise SourceError(
                f"{root}: not one frame could be taken ({self._why()})", "Check the folder and the lists."
            )

    def _why(self) -> str:
        if not self.rejects:
            return "it has no images"
        first = self.rejects[0]
        counts = ", ".join(f"{reason}: {count}" for reason, count in self.figures()["rejects"].items())
        return f"{counts}; the first: {first.path or first.item}, {first.detail}"

    def figures(self) -> dict[str, Any]:
        """Return the counts."""
        reasons = Counter(reject.reason for reject in self.rejects)
        return {
            "frames": self.count,
            "pairs": self.pairs,
            "boxes": dict(sorted(self.boxes.items())),
            "rejects": dict(sorted(reasons.items())),
        }
