"""How many boxes are still there in images that start from annotated frames, by how much noise the frames got.

    python benchmarks/start_strength.py --data data --json                         # 48 images a strength
    python benchmarks/start_strength.py --insert --strengths 0.9 --guide agreement # drawn into empty frames instead

The miniature's stages are built (or taken) in DATA. `kept` is the share of the frames' boxes that the teachers confirm
or move (`irgen.labels.inheriting`), with its 95 % interval over images; `chance` the same for the boxes of another
image's frame, so what of it the teachers would confirm wherever people usually are. Strength 0 is the frames
themselves, which the teachers have learnt: no generated image can be expected to keep more. `likeness` is the mean
correlation of an image's gray levels with its frame's, `score` the mean score of the kept images under the guide.

With `--insert` only the inserted box counts, and strength 0 is the frame without it: what is kept there is a mistake.
`--guide agreement` lets the search keep the candidate in which the teachers find what the caption tells.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alternating  # noqa: F401  first: it sets the threads
import numpy as np
from PIL import Image

from irgen import images, pipeline, settings
from irgen.audit.figures import proportion
from irgen.labels.examples import mapped_boxes
from irgen.labels.inheriting import inherit
from irgen.labels.teachers import Teachers
from irgen.records import Box, Frame, read_rows
from irgen.settings import TEACHERS, AgreementChoice, IrscoreChoice, Manifest, RandomSearch, Settings, StartSettings
from irgen.shards import parts, read_shard
from irgen.sources import root_of
from irgen.starting import Start
from irgen.store import Ref

MANIFEST = Path(__file__).parents[1] / "manifests" / "miniature.yaml"
BEFORE = ("frames", "captions", "negatives", "teachers", "adapter", "verifier")
CANDIDATES = 4


@dataclass(frozen=True)
class World:
    """The miniature up to its verifier."""

    manifest: Manifest
    root: Path
    refs: dict[str, Ref]

    def run(self, name: str, **changed: Settings) -> Ref:
        """Make a stage's output, or take the one that is there."""
        stage = pipeline.stage_named(name)
        sections = {section: getattr(self.manifest, section) for section in stage.sections} | changed
        inputs = {one: self.refs[one] for one in stage.reads(sections)}
        return pipeline.run_stage(stage, self.root, sections, inputs).ref


@dataclass(frozen=True)
class Made:
    """Images, uint8 [N, H, W], the boxes that each started with, in its pixels, and IRSCORE of each."""

    lwir_u8: np.ndarray
    boxes: list[list[Box]]
    scores: list[float]


def build(data: Path) -> World:
    """Run the miniature's stages up to the verifier."""
    manifest = settings.load_manifest(MANIFEST)
    world = World(manifest, pipeline.dataset_root(data, manifest.dataset), {})
    for name in BEFORE:
        world.refs[name] = world.run(name)
    return world


def generated(world: World, start: StartSettings, guide: str, count: int) -> tuple[Made, list[str]]:
    """Make images that start from frames; return them and the frames' ids."""
    samples = world.manifest.samples.model_copy(
        update={
            "images": count,
            "search": RandomSearch(candidates=CANDIDATES),
            "start": start,
            "guide": AgreementChoice(detector=TEACHERS) if guide == "agreement" else IrscoreChoice(),
        }
    )
    records = [one for tar in parts(world.run("samples", samples=samples).folder, "shards") for one in read_shard(tar)]
    starts = [Start.from_sheet(one.sheet) for one in records]
    lwir_u8 = np.stack([np.asarray(Image.open(io.BytesIO(one.image)).convert("L")) for one in records])
    boxes = [one.boxes_px(lwir_u8.shape[2], lwir_u8.shape[1]) for one in starts]
    if start.insert:
        boxes = [own[-1:] for own in boxes]
    return Made(lwir_u8, boxes, [one.sheet["score"] for one in records]), [one.frame_id for one in starts]


def real(world: World, chosen: Sequence[str]) -> np.ndarray:
    """Return frames at the images' size, uint8 [N, H, W]."""
    folder, base = world.refs["frames"].folder, world.manifest.base
    frames = {one.id: one for one in read_rows(folder / "frames.parquet", Frame)}
    read = (images.read_gray(root_of(folder) / frames[one].lwir) for one in chosen)
    return np.stack([images.resize(one, base.width_px, base.height_px) for one in read])


def kept(teachers: Teachers, lwir_u8: np.ndarray, boxes: Sequence[Sequence[Box]]) -> dict[str, Any]:
    """Return the share of boxes that the teachers confirm or move."""
    hits, totals = [], []
    for own, votes in zip(boxes, teachers.votes(lwir_u8), strict=True):
        found = inherit(own, votes, "inherit", teachers.ignore_from, teachers.classes)
        totals.append(sum(not box.ignore and box.label in teachers.classes for box in own))
        hits.append(sum(box.source == "inherit" and not box.ignore for box in found))
    return proportion(hits, totals)


def row(world: World, teachers: Teachers, strength: float, made: Made, frames: np.ndarray) -> dict[str, Any]:
    """Return what came of one strength."""
    classes = world.manifest.teachers.classes
    boxes = [mapped_boxes(own, classes) for own in made.boxes]
    pairs = zip(made.lwir_u8, frames, strict=True)
    likeness = np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairs])
    return {
        "strength": strength,
        "steps": world.manifest.samples.steps - round(world.manifest.samples.steps * (1 - strength)),
        "kept": kept(teachers, made.lwir_u8, boxes),
        "chance": kept(teachers, made.lwir_u8, boxes[1:] + boxes[:1]),
        "likeness": float(likeness),
        "score": float(np.mean(made.scores)) if made.scores else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--strengths", default="0.3,0.5,0.7")
    parser.add_argument("--insert", action="store_true")
    parser.add_argument("--guide", choices=("irscore", "agreement"), default="irscore")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    world = build(asked.data)
    teachers = Teachers.load(world.refs["teachers"].folder)
    rows = []
    for strength in map(float, asked.strengths.split(",")):
        start = (
            StartSettings(insert=1, insert_strength=strength)
            if asked.insert
            else StartSettings(inherit=1, strength=strength)
        )
        made, chosen = generated(world, start, asked.guide, asked.images)
        frames = real(world, chosen)
        if not rows:
            rows.append(row(world, teachers, 0.0, Made(frames, made.boxes, []), frames))
        rows.append(row(world, teachers, strength, made, frames))
    if asked.json:
        print(json.dumps({"images": asked.images, "rows": rows}))
        return
    print("| strength | steps run | boxes | kept | by chance | likeness | score |\n" + "|---" * 7 + "|")
    for one in rows:
        share, (low, high) = one["kept"]["value"], one["kept"]["interval"]
        told = f"{share:.2f} [{low:.2f}, {high:.2f}] | {one['chance']['value']:.2f} | {one['likeness']:.2f}"
        score = "" if one["score"] is None else f"{one['score']:.3f}"
        print(f"| {one['strength']:g} | {one['steps']} | {one['kept']['n']} | {told} | {score} |")


if __name__ == "__main__":
    main()
