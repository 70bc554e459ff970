"""Which outputs a report stands on, back to the frames, and what each cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irgen import store
from irgen.errors import StoreError


@dataclass(frozen=True)
class Ancestor:
    """One stage's output.

    Attributes:
        manifest: its manifest: stage, fingerprint, version, settings, inputs, figures, content.
        seconds: wall time of making it, None where that was not kept.
    """

    manifest: dict[str, Any]
    seconds: float | None


def ancestors(inputs: Iterable[Path], root: Path) -> list[Ancestor]:
    """Return the inputs and all that they were made from, in the order of the flow.

    Args:
        inputs: output folders.
        root: the dataset's folder, in which the inputs' own inputs are found by their content digests.
    """
    by_content: dict[str, Path] = {}
    for path in sorted(root.glob(f"*/*/{store.MANIFEST}")):
        try:
            by_content[store.read_manifest(path.parent)["content"]] = path.parent
        except StoreError:
            continue  # a damaged output of another run is not ours to judge; our own inputs were verified
    found: dict[Path, Ancestor] = {}
    queue = list(inputs)
    while queue:
        folder = queue.pop()
        if folder in found:
            continue
        manifest = store.read_manifest(folder)
        found[folder] = Ancestor(manifest, _seconds(folder))
        queue += [by_content[content] for content in manifest["inputs"].values() if content in by_content]
    return [found[folder] for folder in sorted(found, key=lambda folder: folder.parent.name)]


def _seconds(folder: Path) -> float | None:
    return store.read_cost(folder).get("seconds")
