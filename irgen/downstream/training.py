"""One detector of a study: trained, run on the test frames, and kept; what is kept already is not trained again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from irgen import files
from irgen.downstream.pools import Pool
from irgen.errors import StoreError
from irgen.labels import detectors
from irgen.labels.detectors import SOURCE
from irgen.labels.learning import Ending
from irgen.records import LabelledBox
from irgen.settings import DetectorSettings

CODE_VERSION = 2
FIELDS = ("label", "x_px", "y_px", "w_px", "h_px", "score")


@dataclass(frozen=True)
class Job:
    """A detector to be trained.

    Attributes:
        arm: what it learns from, in words.
        share: of the real frames; 0 where it sees none.
        seed: of the detector and of the choice of real frames.
        train: what it sees.
        ending: on which of it the training ends; none: on all of it.
    """

    arm: str
    share: float
    seed: int
    train: Pool
    ending: Ending | None = None

    @property
    def name(self) -> str:
        """E.g. "real + guided, 10 %, seed 2"."""
        part = f", {100 * self.share:g} %" if self.share else ""
        return f"{self.arm}{part}, seed {self.seed}"


def path_of(folder: Path, job: Job, settings: DetectorSettings, classes: tuple[str, ...], test_digest: str) -> Path:
    """Return where a job's detections are kept: named by all that decides them."""
    ending = job.ending and astuple(job.ending)
    learnt = [job.train.digest(), ending, settings.model_dump(mode="json"), job.seed, classes]
    decided = [CODE_VERSION, *learnt, test_digest]
    return folder / f"{sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:16]}.json"


def run(job: Job, settings: DetectorSettings, classes: tuple[str, ...], test: Pool, path: Path) -> None:
    """Train a job's detector and keep what it finds in the test frames."""
    detector = detectors.train(
        job.train.images_u8,
        job.train.boxes,
        settings.model_copy(update={"seed": job.seed}),
        classes=classes,
        description=job.name,
        ending=job.ending,
    )
    found = detector.detect(test.images_u8)
    rows = [[[getattr(box, field) for field in FIELDS] for box in own] for own in found]
    document: dict[str, Any] = {"arm": job.arm, "share": job.share, "seed": job.seed, "fields": FIELDS, "found": rows}
    files.write_json(path, document)


def read(path: Path) -> list[list[LabelledBox]]:
    """Return the detections that `run` kept.

    Raises:
        StoreError: damaged.
    """
    try:
        return [[_box(row) for row in own] for own in json.loads(path.read_bytes())["found"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error})", "Remove it: it is made again.") from error


def _box(row: Sequence[Any]) -> LabelledBox:
    label, x, y, width, height, score = row
    return LabelledBox(str(label), float(x), float(y), float(width), float(height), float(score), SOURCE, 0.0, False)
