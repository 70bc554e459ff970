"""Whether generated images make a detector better on real frames, where there are few and where there are many.

On the miniature: real frames only, with grayscale of visible ones, with unguided and with guided images, and guided
images only; then real frames of HIT-UAV alone, since it has no visible frames and nothing was generated for it. Every
detector takes the same number of steps. What is done is kept below --data, so that the same command carries on.

    python benchmarks/downstream.py --json
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import command

from irgen import pipeline, settings
from irgen.downstream import page, study
from irgen.downstream.settings import DownstreamSettings, Generated
from irgen.settings import DetectorSettings, FramesSettings, Manifest

ROOT = Path(__file__).parents[1]
HIT_UAV = ROOT.parent / "shared" / "data" / "hit-uav"
DATASET = "downstream"
WHERE = {
    # 31 and 103 frames: of one or two videos, and of four.
    "miniature": DownstreamSettings(shares=(0.03, 0.1)),
    # Persons are some 20 px of 512 high there.
    "hit-uav": DownstreamSettings(
        width_px=256,
        height_px=208,
        detector=DetectorSettings(channels=32, steps=300, batch_size=4, learning_rate=1e-3),
        least_height=0.02,
    ),
}


def build(manifest: Manifest, data: Path) -> dict[str, Path]:
    """Build a dataset up to its shards; return the output of each stage."""
    root = pipeline.dataset_root(data, manifest.dataset)
    outcomes: dict[str, pipeline.Outcome] = {}
    for stage in pipeline.STAGES:
        if stage.name != "report":
            sections = {name: getattr(manifest, name) for name in stage.sections}
            refs = {name: outcomes[name].ref for name in stage.reads(sections)}
            outcomes[stage.name] = pipeline.run_stage(stage, root, sections, refs)
    return {name: Path(outcome.ref.path) for name, outcome in outcomes.items()}


def miniature(data: Path, images: int, asked: DownstreamSettings) -> dict[str, Any]:
    """Make both datasets and run the study on them."""
    base = settings.load_manifest(ROOT / "manifests" / "miniature.yaml").model_copy(update={"dataset": DATASET})
    built = {}
    for name, candidates in {"unguided": 1, "guided": 12}.items():
        search = base.samples.search.model_copy(update={"candidates": candidates})
        # So many that a forward is full: it costs what a full one does.
        changes = {"images": images, "search": search, "prompts_at_once": base.samples.batch_size // candidates}
        samples = base.samples.model_copy(update=changes)
        built[name] = build(base.model_copy(update={"samples": samples}), data)
    datasets = [Generated(name=name, path=own["shards"], alone=name == "guided") for name, own in built.items()]
    return study.run(data / DATASET / "study", built["guided"]["frames"], datasets, asked)


def hit_uav(data: Path, raw: Path, asked: DownstreamSettings) -> dict[str, Any]:
    """Run what is left of the study on HIT-UAV: its real frames."""
    root = data / f"{DATASET}-hit-uav"
    frames = FramesSettings(source="hit-uav", root=str(raw))
    found = pipeline.run_stage(pipeline.stage_named("frames"), root, {"frames": frames}, {})
    return study.run(root / "study", Path(found.ref.path), [], asked)


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['test_frames']} real test frames of {found['test_videos']} videos, seeds {found['seeds']}")
    for arm, why in found["left_out"].items():
        print(f"  left out: {arm} ({why})")
    print(f"{'':22}{'real':>6}  {'AP50':24}{'AP':24}miss rate")
    for row in sorted(found["cells"], key=lambda one: one["share"]):
        figures = "".join(f"{page.figure(row[metric]):24}" for metric in page.TITLES)
        print(f"{row['arm']:22}{100 * row['share']:>5g}%  {figures}".rstrip())
    for row in found["gains"]:
        print(f"{row['arm']} over {row['over']}, {100 * row['share']:g} %: AP50 {page.figure(row['ap50'])}")


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where datasets and studies are kept")
    parser.add_argument("--images", type=int, default=512, help="generated for each arm")
    parser.add_argument("--steps", type=int, default=0, help="of every detector; default: the settings'")
    parser.add_argument("--seeds", type=int, default=3, help="detectors of each arm and size")
    parser.add_argument("--only", choices=list(WHERE), help="one of the two")
    parser.add_argument("--hit-uav", type=Path, default=HIT_UAV, help="folder of HIT-UAV; left out where it is not")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report: dict[str, Any] = {}
    for name, asked in WHERE.items():
        changes: dict[str, Any] = {"seeds": tuple(range(options.seeds))}
        if options.steps:
            changes["detector"] = asked.detector.model_copy(update={"steps": options.steps})
        wanted = DownstreamSettings.model_validate(asked.model_copy(update=changes).model_dump())
        if options.only in (None, name) and name == "miniature":
            report[name] = miniature(options.data, options.images, wanted)
        elif options.only in (None, name) and options.hit_uav.is_dir():
            report[name] = hit_uav(options.data, options.hit_uav, wanted)
        else:
            print(f"{name}: left out" + ("" if options.only else f", {options.hit_uav} is not there"))
            continue
        show(name, report[name])
    command.finish(options, report)


if __name__ == "__main__":
    main()
