from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irgen import images, negatives, seeds
from irgen.errors import SourceError
from irgen.records import Frame

KINDS = ("gray", "inverted", "agc", "rgb")


def picture(height_px: int = 20, width_px: int = 30) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def frame(name: str, split: str = "train", visible: bool = True, lwir: bool = True) -> Frame:
    paths = {"visible": f"{name}-v.png" if visible else "", "lwir": f"{name}-l.png" if lwir else ""}
    hashes = {"visible_sha256": "", "lwir_sha256": ""}
    return Frame(name, "folder", split, "", "", "day", "", **paths, **hashes, width_px=30, height_px=20)  # type: ignore[arg-type]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for name in ("a/1", "a/2", "b/1"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(40, 60)).save(f"{path}-v.png")  # twice the frame's size
        Image.fromarray(picture()[..., 0]).save(f"{path}-l.png")
    return folder


def test_gray_is_bt601_luma_in_three_channels() -> None:
    red, green, blue, white = ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255])
    gray = negatives.gray(np.array([[red, green, blue, white]], np.uint8))
    assert gray.tolist() == [[[76] * 3, [150] * 3, [29] * 3, [255] * 3]]


def test_gray_agrees_with_pillow() -> None:
    ours, theirs = negatives.gray(picture())[..., 0], np.array(Image.fromarray(picture()).convert("L"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_inverted_is_the_negative_of_gray() -> None:
    np.testing.assert_array_equal(negatives.inverted(picture()), 255 - negatives.gray(picture()))


def test_a_wrong_gain_keeps_the_scene_and_changes_its_levels() -> None:
    lwir = (np.linspace(0, 1, 600).reshape(20, 30) ** 2 * 200).astype(np.uint8)
    faults = [negatives.wrong_agc(lwir, seeds.generator(0, k, "agc")) for k in range(40)]
    for faulty in faults:
        assert faulty.shape == (20, 30, 3) and faulty.dtype == np.uint8
        assert (np.diff(faulty[..., 0].ravel().astype(int)) >= 0).all()  # a gain never swaps warm and cold
        assert np.abs(faulty[..., 0].astype(int) - lwir).mean() > 8
    spreads = [float(faulty.std()) for faulty in faults]
    assert min(spreads) < 25 and max(spreads) > 80  # washed-out ones and stretched ones


@pytest.mark.parametrize("fault", negatives.AGC_FAULTS)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_every_fault_bears_a_flat_image(fault, level) -> None:
    assert np.isfinite(fault(np.full((4, 5), level), np.random.default_rng(0))).all()


def test_all_kinds_are_written_at_the_frames_size(raw: Path, tmp_path: Path) -> None:
    frames = [frame("a/2"), frame("a/1"), frame("b/1", "val")]
    rows, left_out = negatives.write_all(frames, KINDS, 0, raw, tmp_path / "out")
    assert len(rows) == 12 and not any(left_out.values())
    assert [row.frame_id for row in rows if row.kind == "gray"] == ["a/1", "a/2", "b/1"]
    assert rows[0].path == "gray/train/a/1.png"
    for row in rows:
        written = images.read_rgb(tmp_path / "out" / row.path)
        assert written.shape == (20, 30, 3)
        assert images.check(tmp_path / "out" / row.path).sha256 == row.sha256


def test_test_frames_give_gray_alone(raw: Path, tmp_path: Path) -> None:
    rows, _ = negatives.write_all([frame("a/1", "test")], KINDS, 0, raw, tmp_path / "out")
    assert [row.kind for row in rows] == ["gray"]
    with pytest.raises(SourceError):
        negatives.write_all([frame("a/1", "test")], ("inverted", "agc", "rgb"), 0, raw, tmp_path / "none")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_the_only_one(kind, raw: Path, tmp_path: Path) -> None:
    rows, _ = negatives.write_all([frame("a/1")], (kind,), 0, raw, tmp_path / "out")
    assert [row.kind for row in rows] == [kind]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {kind, "_tmp"}


def test_frames_without_a_visible_image_give_a_wrong_gain_only(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, left_out = negatives.write_all([frame("a/1", visible=False)], KINDS, 0, raw, tmp_path / "out")
    assert "no inverted: none of 1 captioned frames has a visible image" in caplog.text
    assert [row.kind for row in rows] == ["agc"]
    assert left_out == {"gray": 1, "inverted": 1, "agc": 0, "rgb": 1}
    with pytest.raises(SourceError, match=r"none of gray, rgb can be made of these 1 frames\n.*agc needs LWIR"):
        negatives.write_all([frame("a/1", visible=False)], ("gray", "rgb"), 0, raw, tmp_path / "none")


def test_an_interrupted_run_is_carried_on_and_torn_files_are_made_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, out = [frame("a/1"), frame("a/2")], tmp_path / "out"
    first, _ = negatives.write_all(frames, KINDS, 0, raw, out)
    torn = out / first[0].path
    torn.write_bytes(torn.read_bytes()[:60])
    made = []
    real = negatives._make
    monkeypatch.setattr(
        negatives, "_make", lambda one, kind, *rest: made.append((one.id, kind)) or real(one, kind, *rest)
    )
    assert negatives.write_all(frames, KINDS, 0, raw, out)[0] == first
    assert made == [("a/1", "gray")]


def test_equal_seeds_write_equal_bytes_and_other_seeds_other_gains(raw: Path, tmp_path: Path) -> None:
    def hashes(seed: int, name: str) -> list[str]:
        rows, _ = negatives.write_all([frame("a/1"), frame("a/2")], ("agc",), seed, raw, tmp_path / name)
        return [row.sha256 for row in rows]

    assert hashes(0, "x") == hashes(0, "y") != hashes(1, "z")


def test_a_missing_image_is_named(raw: Path, tmp_path: Path) -> None:
    (raw / "a/2-v.png").unlink()
    with pytest.raises(SourceError, match=r"a/2-v\.png"):
        negatives.write_all([frame("a/1"), frame("a/2")], ("rgb",), 0, raw, tmp_path / "out")
