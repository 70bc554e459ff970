"""A run of two stages with the real pipeline, store and commit protocol, and a few lines in place of the models."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from irgen import files, pipeline, records, shards
from irgen.pipeline import Stage
from irgen.records import Box, Frame
from irgen.settings import Manifest
from tests.shards import outputs

FRAMES = Stage(1, "frames", ("frames",), ())
SAMPLES = Stage(6, "samples", ("samples",), ("frames",))
MANIFEST = Manifest.model_validate({"dataset": "tiny", "frames": {"source": "miniature"}})
SIZE = {"items": 5, "per_shard": 3}


def frame(number: int) -> Frame:
    name = f"set00/V000/I{number:05d}"
    box = Box("person", 1.0, 2.0, 3.0, 4.0)
    digest = "0" * 64
    return Frame(name, "kaist", "train", "set00", "V000", "day", "campus", "", name, "", digest, 64, 64, (box,))


def _frames(frames, out: Path) -> dict:
    rows = [frame(number) for number in range(20)]
    return {"frames": records.write_rows(out / "frames.parquet", rows, Frame.SCHEMA)}


def _samples(samples, frames: Path, out: Path) -> dict:
    assert len(records.read_rows(frames / "frames.parquet", Frame)) == 20
    output = outputs.opened(out, **SIZE)
    for number in output.pending():
        outputs.add(output, number)
    return output.finish()


@contextlib.contextmanager
def stages() -> Iterator[None]:
    """Put the few lines in the models' place."""
    names = {"irgen.stages.frames": _frames, "irgen.stages.samples": _samples}
    before = {name: sys.modules.get(name) for name in names}
    for name, run in names.items():
        fake = ModuleType(name)
        vars(fake).update(VERSION=1, run=run, externals=lambda **sections: {})
        sys.modules[name] = fake
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def build(root: Path) -> None:
    """Run both stages, or what is left of them, and sum up."""
    with stages():
        sections = {"frames": MANIFEST.frames, "samples": MANIFEST.samples}
        frames = pipeline.run_stage(FRAMES, root, sections, {})
        samples = pipeline.run_stage(SAMPLES, root, sections, {"frames": frames.ref})
        figures = {"frames": frames.figures, "samples": samples.figures}
        files.write_bytes(root / "summary.json", files.sealed({"dataset": samples.ref.content, **figures}))


def damage(root: Path) -> None:
    """Change a byte of a committed shard."""
    path = sorted(root.glob("06-samples/*/shards/*.tar"))[0]
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)


def litter(root: Path) -> None:
    """Leave what a crash leaves, and an abandoned beginning."""
    folder = next(root.glob("06-samples/*/manifest.json")).parent
    files.write_bytes(folder / "shards" / "000001-aaaaaaaaaaaa.tar", b"orphan")
    files.write_bytes(folder / "_tmp" / "000001.1.x" / "members.tar", b"scratch")
    outputs.opened(folder.parent / ("0" * 16), run={"of": "another"})


def contents(root: Path) -> dict[str, bytes]:
    """What a dataset is: all bytes but scratch, which nobody reads, costs, and the locks' empty files."""
    found = outputs.contents(root)
    about = ("cost.json", ".lock")
    return {name: found[name] for name in found if not name.endswith(about) and "_tmp" not in name.split("/")}


@dataclass(frozen=True)
class Scenario:
    """Something that irgen does to a dataset.

    Attributes:
        name: for the table.
        prepare: makes what is there before, from nothing.
        act: what is disturbed; done again, it ends as if it had not been.
        keeps: what is there before is sound and must never be touched, whatever fails.
    """

    name: str
    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    keeps: bool = False


def _finished_and(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        build(root)
        change(root)

    return prepare


SCENARIOS = (
    Scenario("build", lambda root: root.mkdir(parents=True), build),
    Scenario("mend", _finished_and(damage), build),
    Scenario("again", build, build, keeps=True),
    Scenario("gc", _finished_and(litter), shards.gc),
)
