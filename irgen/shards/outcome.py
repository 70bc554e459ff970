"""Plan against outcome: what the captions asked for, and what is in the boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from irgen.captions import rules
from irgen.captions.agreement import read

PEOPLE = ("person", "cyclist")
HEIGHTS_PX = (0, 35, 55, 75)
"""From 55 px a pedestrian counts in KAIST's Reasonable setting; 55 to 75 px are its hard ones."""


def outcome(index: pa.Table) -> list[dict[str, Any]]:
    """Count images and objects, asked and found.

    Args:
        index: of a dataset.

    Returns:
        Rows of `what`, `asked` (-1 where captions do not tell it), `found` and `ignored` (what ignore boxes add, if
        there is something in them).
    """
    rows = [row for row in index.select(["status", "caption", "boxes"]).to_pylist() if row["status"] == "ok"]
    asked = Counter(name for row in rows for name in _asked(row["caption"]))
    found = Counter(name for row in rows for name in _found([box for box in row["boxes"] if not box["ignore"]]))
    every = Counter(name for row in rows for name in _found(row["boxes"]))
    names = [f"images {phrase}" for phrase in rules.TIMES.values()]
    told = [{"what": name, "asked": asked[name], "found": -1, "ignored": -1} for name in names]
    names = [*(f"images with a {label}" for label in PEOPLE), "images with nobody", *(f"{each}s" for each in PEOPLE)]
    told += [_row(name, asked[name], found, every) for name in names]
    return told + [_row(name, -1, found, every) for name in _heights()]


def _row(name: str, asked: int, found: Mapping[str, int], every: Mapping[str, int]) -> dict[str, Any]:
    return {"what": name, "asked": asked, "found": found[name], "ignored": every[name] - found[name]}


def _asked(caption: str) -> list[str]:
    """Return all that one caption asks for, objects as often as it tells them."""
    groups, nobody = read(caption)
    counts = Counter({label: sum(group.count for group in groups if group.label == label) for label in PEOPLE})
    times = [f"images {phrase}" for phrase in rules.TIMES.values() if phrase in caption]
    return times + ["images with nobody"] * nobody + _people(counts)


def _found(boxes: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = Counter(box["label"] for box in boxes)
    heights = [_height(box["h_px"]) for box in boxes if box["label"] in PEOPLE]
    nobody = not any(counts[label] for label in PEOPLE)
    return ["images with nobody"] * nobody + _people(counts) + heights


def _people(counts: Mapping[str, int]) -> list[str]:
    seen = [label for label in PEOPLE if counts[label]]
    return [f"images with a {label}" for label in seen] + [f"{label}s" for label in seen for _ in range(counts[label])]


def _heights() -> list[str]:
    names = [f"{low} to {high} px high" for low, high in pairwise(HEIGHTS_PX)]
    return [f"people {name}" for name in [*names, f"{HEIGHTS_PX[-1]} px high or more"]]


def _height(height_px: float) -> str:
    return _heights()[sum(height_px >= low for low in HEIGHTS_PX) - 1]
