"""The downstream study: the same detector with and without generated images, judged on real test frames.

Every arm trains for the same number of steps. Each detector is kept when it is done, so that a study that was killed
carries on; the page and the figures are written again each time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from irgen import files
from irgen.downstream import page, pools, summary, training
from irgen.downstream.pools import Pool
from irgen.downstream.settings import GRAYSCALE, REAL, DownstreamSettings, Generated
from irgen.downstream.summary import Cell, Judged
from irgen.downstream.training import Job
from irgen.errors import SettingsError
from irgen.labels.learning import Ending
from irgen.metrics import missrate
from irgen.progress import Bar, bar

log = logging.getLogger(__name__)

RUNS, FIGURES, PAGE = "runs", "downstream.json", "index.html"


@dataclass(frozen=True)
class Plan:
    """What a study trains and is judged on.

    Attributes:
        jobs: every detector.
        test: real frames.
        classes: names that are learnt.
        facts: images and boxes of each pool.
        left_out: arms that cannot be, and why.
    """

    jobs: tuple[Job, ...]
    test: Pool
    classes: tuple[str, ...]
    facts: dict[str, dict[str, int]]
    left_out: dict[str, str]


def run(
    out: Path, frames: Path, datasets: Sequence[Generated], asked: DownstreamSettings, progress: Bar = bar
) -> dict[str, Any]:
    """Train what is missing, and sum up.

    Args:
        out: folder of the study, made if missing: `downstream.json`, `index.html` and a file a detector.
        frames: output of stage frames; detectors learn from its train split and are judged on `asked.test_split`.
        datasets: labelled generated datasets, an arm each; of none, the study is of real frames (and grayscale).
        asked: what to do.
        progress: shows how many detectors are trained and the time left.

    Returns:
        What `downstream.json` holds.

    Raises:
        SettingsError: two datasets of one name, or no class that all sets have.
        SourceError: no frames of a split, or none with boxes.
        StoreError: a dataset without labels, or a damaged one.
    """
    planned = plan(frames, datasets, asked)
    test_digest = planned.test.digest()
    runs = out / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    paths = [training.path_of(runs, job, asked.detector, planned.classes, test_digest) for job in planned.jobs]
    # Jobs that learn from equal images are one detector.
    missing = {path: job for job, path in zip(planned.jobs, paths, strict=True) if not path.is_file()}
    log.info("downstream: %d detectors, %d to train", len(set(paths)), len(missing))
    with progress("downstream detectors", len(missing)) as advance:
        for path, job in missing.items():
            training.run(job, asked.detector, planned.classes, planned.test, path)
            advance(1)
    document = _summed(planned, paths, asked)
    files.write_json(out / FIGURES, document)
    files.write_bytes(out / PAGE, page.render(document).encode())
    return document


def plan(frames: Path, datasets: Sequence[Generated], asked: DownstreamSettings) -> Plan:
    """Read everything and say what is to be trained; see `run`."""
    if len({one.name for one in datasets}) < len(datasets):
        raise SettingsError("two datasets of one name", "Each is an arm and needs its own.")
    everything, judging = pools.real(frames, "train", asked), pools.real(frames, asked.test_split, asked)
    others = {one.name: pools.generated(one, asked) for one in datasets}
    classes, left_out = _classes(everything, others)
    real, test = pools.only(everything, classes), pools.only(judging, classes)
    others = {name: pools.only(pool, classes) for name, pool in others.items()}
    gray = pools.grayscale(frames, max([len(pool) for pool in others.values()], default=len(real)), asked)
    if gray is None:
        left_out[GRAYSCALE] = "the source has no visible frames"
    if not others:
        left_out["generated images"] = "no labelled dataset was given"
    added = {GRAYSCALE: pools.only(gray, classes)} if gray else {}
    added |= {f"{REAL} + {name}": pool for name, pool in others.items()}
    jobs = []
    for seed in asked.seeds:
        for share in asked.shares:
            part = pools.share(real, share, seed)
            jobs.append(Job(REAL, share, seed, part))
            jobs += [_mixed(arm, share, seed, part, one, asked) for arm, one in added.items()]
        jobs += [Job(f"{one.name} only", 0.0, seed, others[one.name]) for one in datasets if one.alone]
    facts = pools.facts({"real train": real, f"real {asked.test_split}": test, **added})
    return Plan(tuple(jobs), test, classes, facts, left_out)


def _mixed(arm: str, share: float, seed: int, real: Pool, others: Pool, asked: DownstreamSettings) -> Job:
    train, first = pools.mixed(real, others, asked.real_in_batch)
    return Job(arm, share, seed, train, Ending(first, asked.real_last) if asked.real_last else None)


def _classes(real: Pool, others: Mapping[str, Pool]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the classes that all sets have, and why the real frames' others are left out.

    Where a set's images show cars without boxes, a detector of cars would learn that they are background.
    """
    known = pools.known_classes(real)
    labelled = {name: pools.known_classes(pool) for name, pool in others.items()}
    lacking = {one: [name for name, own in labelled.items() if one not in own] for one in known}
    shared = tuple(one for one in known if not lacking[one])
    if not shared:
        raise SettingsError(
            f"the real frames have boxes of {', '.join(known) or 'nothing'}, the datasets have none of these",
            "Label them with detectors that learnt on the same frames.",
        )
    return shared, {f"class {one}": f"no boxes of it in {', '.join(own)}" for one, own in lacking.items() if own}


def _summed(planned: Plan, paths: Sequence[Path], asked: DownstreamSettings) -> dict[str, Any]:
    setting = missrate.Setting().scaled(asked.width_px, asked.height_px)
    setting = replace(setting, least_height_px=asked.least_height * asked.height_px)
    judged: dict[Cell, list[Judged]] = {}
    with bar("judging detectors", len(paths)) as advance:
        for job, path in zip(planned.jobs, paths, strict=True):
            own = Judged(planned.test, training.read(path), planned.classes, setting)
            judged.setdefault((job.arm, job.share), []).append(own)
            advance(1)
    summed = summary.summarise(judged, planned.test.groups, _pairs(list(judged)), asked.resamplings, asked.seed)
    return {
        "steps": asked.detector.steps,
        "seeds": list(asked.seeds),
        "test_frames": len(planned.test),
        "test_videos": len(set(planned.test.groups)),
        "classes": list(planned.classes),
        "pools": planned.facts,
        "left_out": planned.left_out,
        **summed,
        "settings": asked.model_dump(mode="json"),
    }


def _pairs(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Return each arm with every arm before it at the same share, real only the first of them."""
    shares = list(dict.fromkeys(share for _, share in cells if share))
    found = []
    for share in shares:
        own = [cell for cell in cells if cell[1] == share] + [cell for cell in cells if not cell[1]]
        found += [(later, earlier) for place, later in enumerate(own) for earlier in own[:place]]
    return found
