from pathlib import Path

import pytest

from irgen.captions import vlm
from irgen.errors import SourceError
from irgen.records import Caption, read_rows
from irgen.settings import CaptionsSettings
from irgen.stages import captions as stage
from tests.raw_frames import raw_frames


def rows(out: Path) -> dict[str, Caption]:
    return {row.frame_id: row for row in read_rows(out / "captions.parquet", Caption)}


class Parrot:
    """A captioner that says the same of everything, and counts how often it is asked."""

    def __init__(self, calls: list[int], fail_at: int = -1) -> None:
        self.calls, self.fail_at = calls, fail_at

    def describe(self, images):
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(len(images))
        return ["a red bus next to a tall tree"] * len(images)


def test_frames_of_every_split_are_captioned_up_to_their_limit(tmp_path: Path) -> None:
    frames = raw_frames(tmp_path / "frames", {"train": 9, "val": 4, "test": 3})
    settings = CaptionsSettings(train_frames=6, val_frames=5, test_frames=2)
    (tmp_path / "out").mkdir()
    figures = stage.run(settings, frames, tmp_path / "out")
    assert figures["captions"] == {"train": 6, "val": 4, "test": 2}
    assert figures["origins"] == {"rules": 12} and figures["shortened"] == 0
    found = rows(tmp_path / "out")
    assert figures["mean_tokens"] == pytest.approx(sum(row.tokens for row in found.values()) / 12, abs=0.01)
    assert all("person" in row.caption for row in found.values())


def test_equal_settings_give_equal_bytes(tmp_path: Path) -> None:
    frames = raw_frames(tmp_path / "frames", {"train": 9})
    settings = CaptionsSettings(train_frames=6)
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        stage.run(settings, frames, tmp_path / name)
    assert (tmp_path / "x/captions.parquet").read_bytes() == (tmp_path / "y/captions.parquet").read_bytes()


def test_a_source_without_training_frames_is_refused(tmp_path: Path) -> None:
    frames = raw_frames(tmp_path / "frames", {"test": 3})
    with pytest.raises(SourceError, match="none of its 3 frames is in the train split"):
        stage.run(CaptionsSettings(), frames, tmp_path)


def test_the_model_is_asked_by_day_only_and_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = raw_frames(tmp_path / "frames", {"train": 24}, night_every=3)
    settings, out = CaptionsSettings(captioner="vlm", vlm_model="x/y"), tmp_path / "out"
    out.mkdir()
    calls: list[int] = []
    monkeypatch.setattr(vlm, "VlmCaptioner", lambda model, device: Parrot(calls, fail_at=1))
    with pytest.raises(KeyboardInterrupt):
        stage.run(settings, frames, out)
    assert not (out / "captions.parquet").exists()
    monkeypatch.setattr(vlm, "VlmCaptioner", lambda model, device: Parrot(calls))
    figures = stage.run(settings, frames, out)
    assert calls == [8, 8]
    assert figures["origins"] == {"rules": 8, "vlm+rules": 16}
    for row in rows(out).values():
        assert row.caption.endswith(", a bus, a tall tree") == (" at night" not in row.caption)


def test_the_models_weights_are_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.externals(CaptionsSettings()) == {}
    (tmp_path / "model.safetensors").write_bytes(b"1")
    settings = CaptionsSettings(captioner="vlm", vlm_model=str(tmp_path))
    first = stage.externals(settings)
    (tmp_path / "model.safetensors").write_bytes(b"22")
    assert stage.externals(settings) != first
