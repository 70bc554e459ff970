import shutil

import pytest

from irgen import doctor, room
from irgen.errors import StoreError
from irgen.pipeline import PlanLine
from irgen.settings import Manifest
from irgen.store import Ref

MANIFEST = Manifest.model_validate(
    {"dataset": "tiny", "frames": {"source": "miniature"}, "base": {"model": "miniature"}}
)
REDO, REUSE = (PlanLine("samples", action, "", None) for action in ("redo", "reuse"))


def free(monkeypatch, count: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(2**40, 2**40, int(count)))


def test_a_run_that_has_no_room_is_refused_with_the_figures(tmp_path, monkeypatch):
    need = doctor.dataset_bytes(MANIFEST)
    free(monkeypatch, need / 4)
    with pytest.raises(StoreError, match=rf"{need / 4 / 2**30:.2f} GiB free.*{need / 2**30:.2f} GiB are still"):
        room.require(MANIFEST, tmp_path, [REUSE, REDO])


def test_what_is_there_already_needs_no_room(tmp_path, monkeypatch):
    free(monkeypatch, room.SURELY * (doctor.dataset_bytes(MANIFEST) - 100))
    begun = tmp_path / "tiny" / "06-samples" / "0123"
    begun.mkdir(parents=True)
    (begun / "x.tar").write_bytes(bytes(99))
    with pytest.raises(StoreError):
        room.require(MANIFEST, tmp_path, [REDO])
    (begun / "y.tar").write_bytes(bytes(2))
    room.require(MANIFEST, tmp_path, [REDO])


def test_of_what_is_finished_only_what_is_reused_makes_room(tmp_path, monkeypatch):
    free(monkeypatch, room.SURELY * (doctor.dataset_bytes(MANIFEST) - 100))
    earlier, reused = tmp_path / "tiny" / "06-samples" / "0123", tmp_path / "tiny" / "01-frames" / "4567"
    for folder in (earlier, reused):
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(bytes(300))
    with pytest.raises(StoreError):
        room.require(MANIFEST, tmp_path, [REDO])
    frames = Ref(stage="frames", path=str(reused), content="")
    room.require(MANIFEST, tmp_path, [PlanLine("frames", "reuse", "", frames), REDO])


def test_a_run_that_writes_nothing_needs_none(tmp_path, monkeypatch, caplog):
    free(monkeypatch, 0)
    room.require(MANIFEST, tmp_path, [REUSE])
    assert not caplog.records


def test_a_run_that_may_not_have_room_is_warned(tmp_path, monkeypatch, caplog):
    free(monkeypatch, 0.9 * doctor.dataset_bytes(MANIFEST))
    room.require(MANIFEST, tmp_path, [REDO])
    assert "it may not be enough" in caplog.text
