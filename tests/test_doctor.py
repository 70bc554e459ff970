"""What the doctor finds missing, and the way out that it names."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from irgen import cli, doctor, miniature, store
from irgen.generators import memory
from irgen.settings import BaseSettings, FramesSettings, Manifest, VerifierSettings
from tests.shards import outputs
from tests.tiny_flux import HEIGHT_PX, WIDTH_PX, tiny_flux

TINY: dict[str, Any] = {"dataset": "tiny", "frames": {"source": "miniature"}, "verifier": {"model": "miniature"}}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def manifest(**sections: Any) -> Manifest:
    return Manifest.model_validate({**TINY, **sections})


def by_name(checks: list[doctor.Check]) -> dict[str, doctor.Check]:
    return {check.what: check for check in checks}


def test_the_flux_manifest_names_all_that_is_missing_and_the_way_out(repository: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("has a GPU, which this test wants to see missed")
    path = repository / "manifests" / "kaist-flux.yaml"
    done = CliRunner().invoke(cli.app, ["doctor", str(path), "--data", str(tmp_path / "data")])
    assert done.exit_code == 1
    missing = [line.removeprefix("missing").strip() for line in done.stdout.splitlines() if line.startswith("missing")]
    assert [line.split("  ")[0] for line in missing][:4] == ["raw data", "base weights", "hub token", "GPU"]
    assert "hf auth login" in done.stdout
    assert not (tmp_path / "data").exists()


def test_a_whole_local_base_is_found_and_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "flux")
    base = BaseSettings(model=str(folder), height_px=HEIGHT_PX, width_px=WIDTH_PX)
    assert [check.verdict for check in doctor.base_weights(base)] == ["ok"]
    (folder / "vae" / "config.json").unlink()
    (check,) = doctor.base_weights(base)
    assert check.verdict == "missing"
    assert str(folder / "vae" / "config.json") in check.found


def test_a_base_to_be_downloaded_is_a_warning_where_there_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.verdict for check in doctor.base_weights(BaseSettings())] == ["missing", "missing"]
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    assert [check.verdict for check in doctor.base_weights(BaseSettings())] == ["warning", "ok"]


def test_raw_data_is_found_missed_or_empty(tmp_path: Path) -> None:
    settings = FramesSettings(source="folder", root=str(tmp_path / "raw"))
    assert doctor.raw_data(settings).verdict == "missing"
    (tmp_path / "raw" / "lwir").mkdir(parents=True)
    assert doctor.raw_data(settings).verdict == "missing"
    Image.new("L", (8, 8)).save(tmp_path / "raw" / "lwir" / "a.png")
    assert doctor.raw_data(settings).verdict == "ok"


def test_verifier_weights_are_looked_for_where_the_model_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniature, "clip_dir", lambda: tmp_path)
    for model in ("miniature", f"local-dir:{tmp_path}"):
        assert doctor.verifier_weights(VerifierSettings(model=model, pretrained="")).verdict == "missing"
    (tmp_path / "open_clip_model.safetensors").touch()
    for model in ("miniature", f"local-dir:{tmp_path}"):
        assert doctor.verifier_weights(VerifierSettings(model=model, pretrained="")).verdict == "ok"


def test_an_unknown_verifier_or_tag_is_named() -> None:
    assert "ViT-B-33" in doctor.verifier_weights(VerifierSettings(model="ViT-B-33")).found
    check = doctor.verifier_weights(VerifierSettings(model="ViT-B-32", pretrained="openia"))
    assert (check.verdict, "openai" in check.fix) == ("missing", True)
    assert doctor.verifier_weights(VerifierSettings()).verdict == "warning"


def test_a_disk_that_is_too_small_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = manifest(base={"model": "miniature"}, samples={"images": 1000})
    need_bytes = doctor.dataset_bytes(wanted)
    assert need_bytes > 1000 * 512 * 640
    for free_bytes, verdict in ((need_bytes, "ok"), (need_bytes - 1, "missing")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free_bytes: SimpleNamespace(free=free))
        assert doctor.disk(wanted, tmp_path / "not" / "made").verdict == verdict


@pytest.mark.parametrize(("gib", "verdict"), [(24, "missing"), (80, "ok")])
def test_the_gpu_must_hold_the_model_and_its_activations(
    gib: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(name="a GPU", total_memory=gib * doctor.GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert doctor.gpu(manifest()).verdict == verdict


def test_a_package_that_is_not_there_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.verdict for check in doctor.packages()] == ["ok"]
    wants = ["numpy<1", "no-such-package", 'also-none; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wants)
    assert [(check.verdict, check.what) for check in doctor.packages()] == [
        ("warning", "package numpy"),
        ("missing", "package no-such-package"),
    ]


@pytest.mark.parametrize(("gib", "verdict", "word"), [(80, "ok", "together"), (25, "ok", "turns"), (8, "missing", "")])
def test_the_memory_plan_is_printed_and_compared(
    gib: int, verdict: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    sizes = {"transformer": 22 * doctor.GIB, "text_encoder": 9 * doctor.GIB}
    plan = memory.MemoryPlan(sizes, "transformer", forward=doctor.GIB, decode=0, images=(4, 1))
    monkeypatch.setattr(memory, "plan", lambda *_: plan)
    properties = SimpleNamespace(name="a GPU", total_memory=gib * doctor.GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    (check,) = doctor.sampling_memory(manifest().base, 4, 3.5)
    assert check.verdict == verdict and word in check.found
    assert "transformer 22.0 GiB" in check.found
    assert ("batch_size" in check.fix) == (verdict == "missing")


def test_an_output_that_was_begun_is_named_with_its_shards_until_it_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "06-samples" / ("ab" * 8)
    outputs.add(outputs.opened(folder), 1)
    (check,) = doctor.unfinished(tmp_path)
    assert (check.verdict, check.found) == ("warning", f"{folder}: begun, 1 of 4 shards; its run is gone")
    assert "carries on" in check.fix and f"irgen gc {tmp_path}" in check.fix
    with store.exclusive(folder):
        (check,) = doctor.unfinished(tmp_path)
        assert (check.verdict, check.fix) == ("ok", "") and "a run is at work there" in check.found
    outputs.fill(folder)
    assert list(doctor.unfinished(tmp_path)) == []


def test_an_unfinished_output_that_is_damaged_is_named_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "06-samples" / ("ab" * 8)
    outputs.opened(folder)
    (folder / "run.json").write_text("{}")
    (tmp_path / "04-adapter" / ("cd" * 8)).mkdir(parents=True)
    adapter, samples = doctor.unfinished(tmp_path)
    assert adapter.found.endswith("begun; its run is gone")
    assert "run.json: unreadable or damaged" in samples.found


def test_a_dataset_that_was_never_begun_has_nothing_unfinished(tmp_path: Path) -> None:
    assert list(doctor.unfinished(tmp_path / "absent")) == []
