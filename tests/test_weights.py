"""Bases on disk: what names them, what is missing of them, and what the user is told."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from irgen import miniature, weights
from irgen.errors import WeightsError
from tests.tiny_flux import tiny_flux

HUB_ID = "some-one/some-flux"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_flux(tmp_path / "flux")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache of its own; the hub itself is off (HF_HUB_OFFLINE)."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    return cache


def put_in_cache(cache: Path, folder: Path) -> Path:
    repository = cache / f"models--{HUB_ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(folder, repository / "snapshots" / COMMIT))


def test_a_whole_folder_lacks_nothing_and_is_resolved_to_itself(folder: Path) -> None:
    assert weights.missing(str(folder)) == []
    assert weights.resolve(str(folder)) == folder


def test_a_folder_is_named_by_its_content_not_its_place(folder: Path, tmp_path: Path) -> None:
    before = weights.identity(str(folder))
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    assert weights.identity(str(moved)) == before
    config = moved / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("3.0", "2.0"))
    assert weights.identity(str(moved)) != before


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder_2/model.safetensors",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert weights.missing(str(folder)) == [f"{folder / name}: missing"]
    for ask in (weights.identity, weights.resolve):
        with pytest.raises(WeightsError) as caught:
            ask(str(folder))
        assert str(folder / name) in caught.value.what and caught.value.fix


def test_of_sharded_weights_every_shard_is_needed(folder: Path) -> None:
    part = folder / "transformer"
    (part / "diffusion_pytorch_model.safetensors").rename(part / "diffusion_pytorch_model-00001-of-00002.safetensors")
    shards = [f"diffusion_pytorch_model-0000{one}-of-00002.safetensors" for one in (1, 2)]
    index = {"weight_map": dict(zip(("a", "b"), shards, strict=True))}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert weights.missing(str(folder)) == [f"{part / shards[1]}: missing"]


def test_a_broken_shard_index_is_named(folder: Path) -> None:
    part = folder / "transformer"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text("{")
    with pytest.raises(WeightsError, match=r"index\.json"):
        weights.missing(str(folder))


@pytest.mark.parametrize("model", ["/no/such/folder", "./flux", "flux", "a/b/c", ""])
def test_what_is_neither_folder_nor_hub_id_is_refused(model: str) -> None:
    for ask in (weights.identity, weights.resolve, weights.missing):
        with pytest.raises(WeightsError, match="no such folder"):
            ask(model)


def test_the_miniature_is_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniature, "flux_dir", lambda: folder)
    assert weights.resolve("miniature") == folder
    assert weights.identity("miniature") == weights.identity(str(folder))


def test_a_hub_model_that_is_not_here_says_how_to_get_it(hub_cache: Path) -> None:
    (line,) = weights.missing(HUB_ID)
    assert HUB_ID in line and "token" in line
    with pytest.raises(WeightsError) as caught:
        weights.resolve(HUB_ID, "abc123")
    assert HUB_ID in caught.value.what
    assert f"hf download {HUB_ID} --revision abc123" in caught.value.fix and "licence" in caught.value.fix
    assert not any(hub_cache.rglob("*.safetensors"))


def test_a_hub_model_is_named_by_its_commit(hub_cache: Path, folder: Path) -> None:
    assert weights.identity(HUB_ID) == f"{HUB_ID}@main"
    assert weights.identity(HUB_ID, "abc123") == f"{HUB_ID}@abc123"
    put_in_cache(hub_cache, folder)
    assert weights.identity(HUB_ID) == f"{HUB_ID}@{COMMIT}"


def test_a_cached_hub_model_is_used_without_asking(hub_cache: Path, folder: Path) -> None:
    snapshot = put_in_cache(hub_cache, folder)
    assert weights.resolve(HUB_ID) == snapshot and weights.missing(HUB_ID) == []
    (snapshot / "vae" / "config.json").unlink()
    assert weights.missing(HUB_ID) == [f"{snapshot / 'vae' / 'config.json'}: missing"]
    with pytest.raises(WeightsError):
        weights.resolve(HUB_ID)


def test_planning_needs_no_torch() -> None:
    code = "import sys, irgen.weights, irgen.stages.adapter; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
