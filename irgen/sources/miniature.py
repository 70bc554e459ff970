"""The miniature: procedural street scenes that irgen draws itself, in KAIST's layout and file forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from irgen import files, progress
from irgen.records import Frame, Reject
from irgen.settings import FramesSettings
from irgen.sources import kaist
from irgen.sources.inputs import Inputs

LABELS = {**kaist.LABELS, "car": "car"}


def draw(settings: FramesSettings, root: Path) -> None:
    """Draw the scenes into `root`, which appears only when it is whole."""
    from irgen.miniature import dataset

    if root.is_dir():
        return
    unfinished = root.parent / files.TMP / root.name
    files.remove_tree(unfinished)
    unfinished.mkdir(parents=True)
    scenes = settings.scenes
    with progress.bar("miniature scenes", scenes.train + scenes.test) as advance:
        dataset.write(unfinished, scenes.train, scenes.test, scenes.seed, advance)
    unfinished.rename(root)


def inputs(settings: FramesSettings, root: Path) -> Inputs:
    """Name what `read` reads: nothing from outside."""
    return Inputs(root, None)


def read(settings: FramesSettings, root: Path) -> Iterator[Frame | Reject]:
    """Yield the drawn frames, read as KAIST's are."""
    yield from kaist.read(settings, root, "miniature", LABELS)
