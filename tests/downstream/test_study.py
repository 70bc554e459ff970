import json
from pathlib import Path

import pytest

from irgen import pipeline
from irgen.downstream import study, training
from irgen.downstream.settings import DownstreamSettings, Generated
from irgen.errors import SettingsError, StoreError
from irgen.settings import DetectorSettings, FramesSettings, MiniatureScenes
from tests import finished

ASKED = DownstreamSettings(
    detector=DetectorSettings(channels=32, steps=2, batch_size=2),
    shares=(0.2, 1.0),
    seeds=(0, 1),
    resamplings=4,
    width_px=48,
    height_px=32,
)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("downstream")
    asked = FramesSettings(source="miniature", scenes=MiniatureScenes(train=24, test=12))
    return Path(pipeline.run_stage(pipeline.stage_named("frames"), root / "tiny", {"frames": asked}, {}).ref.path)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    path = finished.finished(tmp_path_factory.mktemp("generated"))
    return [Generated(name="unguided", path=path), Generated(name="guided", path=path, alone=True)]


@pytest.fixture(scope="module")
def done(frames, datasets, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    return out, study.run(out, frames, datasets, ASKED)


def test_every_arm_has_every_size_and_seed(done):
    _, found = done
    arms = {(row["arm"], row["share"]) for row in found["cells"]}
    both = ("real", "real + grayscale", "real + unguided", "real + guided")
    assert arms == {(arm, share) for arm in both for share in ASKED.shares} | {("guided only", 0.0)}
    assert all(len(row["by_seed"]) == 2 for row in found["cells"])
    gains = {(row["arm"], row["over"], row["share"]) for row in found["gains"]}
    assert ("real + guided", "real", 0.2) in gains and ("guided only", "real", 1.0) in gains


def test_class_that_a_dataset_never_labels_is_left_out_and_told(done):
    _, found = done
    assert found["classes"] == ["cyclist", "person"]
    assert "class car" in found["left_out"]


def test_page_and_figures_are_written(done):
    out, found = done
    assert json.loads((out / study.FIGURES).read_text())["gains"] == found["gains"]
    page = (out / study.PAGE).read_text()
    assert "real + guided" in page and "<svg" in page and "class car: left out" in page


def test_second_run_trains_nothing_and_a_lost_detector_alone_is_trained_again(done, frames, datasets, monkeypatch):
    out, found = done
    trained = []
    run = training.run
    monkeypatch.setattr(training, "run", lambda job, *rest: (trained.append(job.name), run(job, *rest)))
    lost = sorted((out / study.RUNS).iterdir())[0]
    lost.unlink()
    assert study.run(out, frames, datasets, ASKED) == found
    assert len(trained) == 1 and lost.is_file()


def test_damaged_detections_are_a_clear_error(done, frames, datasets, tmp_path):
    out, _ = done
    path = tmp_path / "x.json"
    path.write_text(sorted((out / study.RUNS).iterdir())[0].read_text()[:-40])
    with pytest.raises(StoreError, match="damaged"):
        training.read(path)


def test_real_frames_alone_say_what_is_left_out(frames):
    planned = study.plan(frames, [], ASKED)
    assert {job.arm for job in planned.jobs} == {"real", "real + grayscale"}
    assert "generated images" in planned.left_out
    assert "car" in planned.classes


def test_test_frames_are_in_no_training_set(frames, datasets):
    planned = study.plan(frames, datasets, ASKED)
    judged = {image.tobytes() for image in planned.test.images_u8}
    assert not any(image.tobytes() in judged for job in planned.jobs for image in job.train.images_u8)


def test_two_datasets_of_one_name_are_refused(frames, datasets):
    with pytest.raises(SettingsError, match="one name"):
        study.plan(frames, [datasets[0], datasets[0]], ASKED)


@pytest.mark.parametrize(
    "changes", [{"shares": (0.3, 0.1)}, {"shares": (0.1, 1.5)}, {"seeds": (1, 1)}, {"real_in_batch": 1}]
)
def test_settings_that_contradict_themselves_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        DownstreamSettings(**changes)
