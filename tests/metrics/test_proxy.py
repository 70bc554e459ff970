import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from irgen import records, sources
from irgen.errors import SourceError, StoreError, WeightsError
from irgen.metrics import proxy
from irgen.metrics.nets import PROXY_FILE
from irgen.metrics.proxy import DISTORTIONS, FRAME_PX, Task, annotated, distorted, fit, load, save, views
from irgen.miniature.scenenet import FEATURES, INPUT_PX, SceneNet
from irgen.records import Box, Frame

FRAME = Frame("a", "folder", "train", "set00", "v0", "day", "road", "", "a.png", "", "", 48, 40)
PERSON, CYCLIST, IGNORED = (
    Box(label, 1, 1, 5, 9, ignore=label == "people") for label in ("person", "cyclist", "people")
)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Frames with a bright sky or a dark one, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(60, 120, (count, *FRAME_PX), dtype=np.uint8)
    frames[::2, : FRAME_PX[0] // 2] += 100
    return frames


def test_tasks_are_what_the_frames_differ_in() -> None:
    frames = [
        replace(FRAME, boxes=(PERSON, CYCLIST, IGNORED)),
        replace(FRAME, time="night", boxes=(PERSON,) * 7),
        replace(FRAME, time=""),
    ]
    tasks = {task.name: task for task in annotated(frames)}
    assert set(tasks) == {"time", "people"}
    assert tasks["time"].answers.tolist() == [0, 1, -1] and tasks["time"].classes == 2
    assert tasks["people"].answers.tolist() == [1, 2, 0] and tasks["people"].classes == 3


def test_a_test_frame_is_refused() -> None:
    with pytest.raises(StoreError, match="1 of 2 frames for the proxy net are no train frames: spy"):
        annotated([FRAME, replace(FRAME, id="spy", split="test")])


def test_few_frames_are_refused() -> None:
    with pytest.raises(SourceError, match="3 train frames for the proxy net, which needs 16"):
        fit(pictures(3), [], seed=0)


def test_a_view_of_everything_is_the_frame() -> None:
    frames = pictures(2)
    seen = views(frames, np.ones(2), np.zeros((2, 2)))
    assert seen.shape == (2, 3, *INPUT_PX)
    blocks = frames.reshape(2, INPUT_PX[0], 2, INPUT_PX[1], 2).mean((2, 4)) / 255
    np.testing.assert_allclose(seen[:, 0], blocks, atol=1e-4)
    assert (seen[:, 0] == seen[:, 2]).all()


def test_a_view_lies_where_it_was_asked_for() -> None:
    frames = np.zeros((2, *FRAME_PX), np.uint8)
    frames[0, -40:, :40] = 255
    frames[1, :40, -40:] = 255
    seen = views(frames, np.full(2, 0.2), np.array([[-1.0, 1], [1, -1]]))
    assert (seen > 0.99).all()


@pytest.mark.parametrize(("kind", "name"), list(enumerate(DISTORTIONS)))
def test_each_distortion_does_what_it_says(kind: int, name: str) -> None:
    picture = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 0.6, (1, 1, *INPUT_PX)).astype(np.float32))
    after = distorted(picture.expand(-1, 3, -1, -1), np.array([kind]), np.random.default_rng(1))[0, 0]
    before = picture[0, 0]
    told = {
        "none": torch.equal(after, before),
        "inverted": torch.allclose(after, 1 - before),
        "blurred": after.std() < 0.5 * before.std(),
        "noisy": 1.02 * before.std() < after.std() and abs(after.mean() - before.mean()) < 0.01,
        "flat": after.std() < 0.9 * before.std() and abs(after.mean() - before.mean()) < 1e-4,
        "saturated": after.mean() > 1.3 * before.mean() and after.max() <= 1,
    }
    assert told[name]
    assert after.min() >= 0 and after.max() <= 1


def test_it_learns_what_it_is_asked_and_the_features_are_scaled() -> None:
    frames = pictures(32)
    taught = fit(frames, [Task("sky", np.arange(32) % 2, 2)], seed=0, steps=12)
    assert set(taught.accuracy) == {"sky", "patch", "distortion"}
    assert taught.accuracy["sky"] > 0.9
    with torch.inference_mode():
        features = taught.net(views(frames, np.ones(32), np.zeros((32, 2)))).numpy()
    assert features.shape == (32, FEATURES)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    assert np.median(features.std(axis=0)) == pytest.approx(1, abs=0.05)


def test_equal_frames_and_seed_give_equal_weights_and_leave_torchs_randomness_alone() -> None:
    frames = pictures(16)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (fit(frames, [], seed=seed, steps=2).net.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_frames_of_unknown_answer_are_not_asked() -> None:
    unknown = Task("time", np.full(16, -1), 2)
    assert "time" not in fit(pictures(16), [unknown], seed=0, steps=1).accuracy


def test_a_net_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = SceneNet().eval()
    save(net, tmp_path / "out", {"frames": 7})
    again = load(tmp_path / "out" / PROXY_FILE)
    images = torch.rand(2, 3, 80, 96)
    assert torch.equal(again(images), net(images))
    with safe_open(tmp_path / "out" / PROXY_FILE, "pt") as file:
        assert json.loads(file.metadata()["facts"]) == {"frames": 7}


@pytest.mark.parametrize("damage", [b"", b"no tensors at all"])
def test_a_damaged_net_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / PROXY_FILE
    path.write_bytes(damage)
    with pytest.raises(WeightsError, match="is not a proxy net"):
        load(path)


def test_training_reads_the_train_frames_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [replace(FRAME, id=f"t{n}", time=("day", "night")[n % 2], lwir=f"t{n}.png") for n in range(20)]
    for frame, pixels in zip(frames, pictures(20), strict=True):
        Image.fromarray(pixels).save(tmp_path / frame.lwir)
    others = [replace(FRAME, id="test", split="test", lwir="absent.png"), replace(FRAME, id="visible", lwir="")]
    records.write_rows(tmp_path / "frames.parquet", [*frames, *others], Frame.SCHEMA)
    monkeypatch.setattr(sources, "root_of", lambda folder: folder)
    monkeypatch.setattr(proxy, "fit", lambda *arguments, seed: fit(*arguments, seed=seed, steps=2))
    figures = proxy.train(tmp_path, tmp_path / "net", seed=0)
    assert figures["frames"] == 20
    assert figures["chance"] == {"time": 0.5, "patch": pytest.approx(1 / 9), "distortion": pytest.approx(1 / 6)}
    assert set(figures["accuracy"]) == {"time", "patch", "distortion"}
    assert (tmp_path / "net" / PROXY_FILE).is_file()
