"""Stage 03, teachers: two detectors that learn on the source's real LWIR frames, calibrated on held-out videos."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from irgen import files, progress, records
from irgen.records import Frame
from irgen.settings import LabelsSettings, TeachersSettings

log = logging.getLogger(__name__)

VERSION = 3


def externals(teachers: TeachersSettings, labels: LabelsSettings) -> dict[str, str]:
    """Read nothing from outside the store."""
    return {}


def run(teachers: TeachersSettings, labels: LabelsSettings, out: Path, frames: Path | None = None) -> dict[str, Any]:
    """Train two detectors on train frames and calibrate them on val frames.

    Args:
        teachers: the detectors, and how far to trust them.
        labels: with mode `none` nothing is trained.
        out: folder to write: `first/`, `second/` and `calibration.json`, none of them where nothing is trained.
        frames: output of stage frames; None with mode `none`.

    Returns:
        `trained`; if not, `reason`; else the classes, AP at IoU .5 of each detector, and precision and recall of the
        labels on held-out frames.

    Raises:
        WeightsError: a training's loss was not finite.
        TrainingError: the process of one of them ended too early.
        SourceError: an image cannot be read.
    """
    if frames is None:
        return _untrained("labels.mode is none")
    known = [frame for frame in records.read_rows(frames / "frames.parquet", Frame) if frame.lwir]
    annotated = Counter(frame.split for frame in known if frame.boxes)
    for split in ("train", "val"):
        if not annotated[split]:
            log.warning("images will have no boxes: no %s frame is annotated", split)
            return _untrained(f"no {split} frame is annotated")
    return _train(teachers, frames, known, out)


def _train(teachers: TeachersSettings, frames: Path, known: list[Frame], out: Path) -> dict[str, Any]:
    from irgen.labels import examples, side_by_side
    from irgen.labels.teachers import calibrate

    size_px = Counter((frame.width_px, frame.height_px) for frame in known).most_common(1)[0][0]
    train = examples.read(frames, "train", teachers.train_frames, teachers.classes, size_px, teachers.seed)
    val = examples.read(frames, "val", teachers.val_frames, teachers.classes, size_px, teachers.seed)
    detectors = side_by_side.train(frames, size_px, train, teachers, out / files.TMP)
    with progress.bar("calibrating teachers", len(val.frames)) as advance:
        pair, measured = calibrate(detectors, val.lwir_u8, val.boxes, teachers.precision, teachers.ignore_from)
        advance(len(val.frames))
    pair.save(out, measured)
    for label, threshold in pair.thresholds.items():
        if threshold > 1:
            log.warning(
                "no %s will be labelled: the teachers never reach a precision of %g on it", label, teachers.precision
            )
    return {
        "trained": True,
        "classes": list(pair.classes),
        "frames": {"train": len(train.frames), "val": len(val.frames)},
        "ap50": {one.architecture: measured[one.architecture]["ap50"] for one in teachers.detectors},
        "labels": measured["labels"],
    }


def _untrained(reason: str) -> dict[str, Any]:
    return {"trained": False, "reason": reason}
