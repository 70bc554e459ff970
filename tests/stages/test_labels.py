import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from irgen import records, store
from irgen.labels import detectors, side_by_side
from irgen.labels import teachers as teaching
from irgen.labels.voting import BOTH, Vote
from irgen.records import Box, Frame
from irgen.settings import DetectorSettings, LabelsSettings, TeachersSettings
from irgen.shards import Sample, ShardedOutput
from irgen.stages import labels, teachers
from irgen.starting import FROM_NOISE, Start
from tests.labels.making import HEIGHT_PX, WIDTH_PX, found, frames_output

SMALL = [DetectorSettings(architecture=one, channels=32, steps=2, batch_size=2) for one in ("fcos", "faster_rcnn")]
TEACHERS = TeachersSettings(detectors=SMALL)
INHERITED = Start("inherit", "f0", (Box("person", 4 / WIDTH_PX, 4 / HEIGHT_PX, 8 / WIDTH_PX, 16 / HEIGHT_PX),))
STARTS = (FROM_NOISE, INHERITED, FROM_NOISE)
CAPTION = "a road by day with one person near on the left"


def finish(folder: Path, stage: str, figures: dict, settings: dict) -> Path:
    document = {
        "stage": stage,
        "version": 1,
        "fingerprint": "f",
        "settings": settings,
        "inputs": {},
        "figures": figures,
    }
    store.write_manifest(folder, document, store.listing(folder))
    return folder


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    output = ShardedOutput.open(folder, run={}, items=3, per_shard=2, columns=pa.schema([]), tables={})
    stream = io.BytesIO()
    Image.fromarray(np.full((HEIGHT_PX, WIDTH_PX, 3), 90, np.uint8)).save(stream, "PNG")
    for number in output.missing():
        with output.shard(number) as shard:
            for index in output.items(number):
                shard.add(Sample(index, stream.getvalue(), "png", STARTS[index].columns(), CAPTION, {}, {}))
    output.finish()
    return finish(folder, "samples", {}, {})


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Teachers that see a person in every image, and one of them another."""

    class Judge:
        classes = ("person",)
        ignore_from = 0.2
        boxes = teaching.Teachers.boxes

        def votes(self, images: np.ndarray) -> list[list[Vote]]:
            doubtful = replace(found(30, score=0.5), ignore=True)
            return [[Vote(found(4, score=0.9), BOTH), Vote(doubtful, 0)] for _ in images]

    monkeypatch.setattr(teaching.Teachers, "load", lambda folder: Judge())
    folder = tmp_path / "teachers"
    folder.mkdir()
    figures = {"trained": True, "classes": ["person"]}
    return finish(folder, "teachers", figures, {"teachers": TEACHERS.model_dump(mode="json")})


def test_every_image_has_its_boxes_mode_and_agreement(samples: Path, taught: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    figures = labels.run(LabelsSettings(), taught, samples, out)
    rows = pq.read_table(out / labels.LABELS).to_pylist()
    assert [row["key"] for row in rows] == ["000000000", "000000001", "000000002"]
    assert [row["mode"] for row in rows] == ["teacher", "inherit", "teacher"]
    assert [[box["source"] for box in row["boxes"]] for row in rows] == [
        ["teacher", "teacher"],
        ["inherit", "teacher"],
        ["teacher", "teacher"],
    ]
    assert [row["agreement"] for row in rows] == [1, 1, 1]
    assert figures == {
        "mode": "inherit+teacher",
        "modes": {"inherit": 1, "teacher": 2},
        "classes": ["person"],
        "images": 3,
        "boxes": {"person": 3},
        "ignored": 3,
        "agreement": 1,
    }


def test_teachers_alone_may_be_asked(samples: Path, taught: Path, tmp_path: Path) -> None:
    assert labels.run(LabelsSettings(mode="teacher"), taught, samples, tmp_path / "out")["mode"] == "teacher"


def test_a_class_that_the_caption_leaves_out_is_doubted(
    samples: Path, taught: Path, tmp_path: Path, monkeypatch
) -> None:
    sure = [Vote(found(4, score=0.9), BOTH), Vote(found(30, label="car", score=0.9), BOTH)]
    judge = type(teaching.Teachers.load(taught))
    monkeypatch.setattr(judge, "votes", lambda self, images: [sure] * len(images))
    labels.run(LabelsSettings(), taught, samples, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / labels.LABELS).to_pylist()
    assert [[(box["label"], box["ignore"]) for box in row["boxes"]] for row in rows] == [
        [("person", False), ("car", True)]
    ] * 3


def test_labels_go_on_where_a_run_was_killed(samples: Path, taught: Path, tmp_path: Path, monkeypatch) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    labels.run(LabelsSettings(), taught, samples, whole)
    written = labels._write

    def killed_at_the_second(path: Path, rows) -> None:
        if list((torn / "_tmp").glob("*.parquet")):
            raise KeyboardInterrupt
        written(path, rows)

    monkeypatch.setattr(labels, "_write", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        labels.run(LabelsSettings(), taught, samples, torn)
    assert not (torn / labels.LABELS).exists()
    made = []
    monkeypatch.setattr(labels, "_write", lambda path, rows: (made.append(path), written(path, rows)))
    labels.run(LabelsSettings(), taught, samples, torn)
    assert len(made) == 1
    assert (torn / labels.LABELS).read_bytes() == (whole / labels.LABELS).read_bytes()


def test_without_labels_every_image_says_so(samples: Path, taught: Path, tmp_path: Path) -> None:
    figures = labels.run(LabelsSettings(mode="none"), taught, samples, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / labels.LABELS).to_pylist()
    assert [(row["mode"], row["boxes"], row["agreement"]) for row in rows] == [("none", [], 1.0)] * 3
    assert figures["mode"] == "none" and figures["classes"] == []


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return frames_output(tmp_path / "frames")


@pytest.fixture
def _one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(frames: Path, size_px, learnt, teachers: TeachersSettings, scratch: Path):
        return tuple(detectors.train(learnt.lwir_u8, learnt.boxes, one) for one in teachers.detectors)

    monkeypatch.setattr(side_by_side, "train", train)


def test_teachers_learn_from_train_frames_and_are_calibrated_on_val_frames(frames: Path, tmp_path: Path) -> None:
    figures = teachers.run(TEACHERS, LabelsSettings(), tmp_path / "out", frames)
    assert figures["trained"] and figures["frames"] == {"train": 6, "val": 3}
    assert figures["classes"] == ["car", "person"] and set(figures["ap50"]) == {"fcos", "faster_rcnn"}
    assert teaching.Teachers.load(tmp_path / "out").classes == ("car", "person")


@pytest.mark.usefixtures("_one_after_the_other")
def test_classes_are_renamed_and_ignored_as_the_settings_say(frames: Path, tmp_path: Path) -> None:
    wanted = TEACHERS.model_copy(update={"classes": {"people": "ignore", "person": "pedestrian", "car": "ignore"}})
    assert teachers.run(wanted, LabelsSettings(), tmp_path / "out", frames)["classes"] == ["pedestrian"]


def test_a_source_without_boxes_trains_nothing_and_says_why(frames: Path, tmp_path: Path, caplog) -> None:
    bare = [replace(one, boxes=()) for one in records.read_rows(frames / "frames.parquet", Frame)]
    records.write_rows(frames / "frames.parquet", bare, Frame.SCHEMA)
    figures = teachers.run(TEACHERS, LabelsSettings(), tmp_path / "out", frames)
    assert figures == {"trained": False, "reason": "no train frame is annotated"}
    assert "images will have no boxes" in caplog.text
    assert teachers.run(TEACHERS, LabelsSettings(mode="none"), tmp_path / "out")["reason"] == "labels.mode is none"
