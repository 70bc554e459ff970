import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from irgen import files, records, store
from irgen.captions import forms
from irgen.errors import StoreError, WeightsError
from irgen.metrics import nets
from irgen.metrics.features import FeatureNet
from irgen.records import Caption, Frame, Reject
from irgen.report.build import Inputs, build
from irgen.settings import FramesSettings, RandomSearch, ReportSettings, SamplesSettings
from irgen.shards import ShardedOutput
from irgen.stages import report, samples
from tests.fakes import FakeGenerator, FakeVerifier

SETTINGS = ReportSettings(bootstrap=5, grid_images=3)
NET = FeatureNet("fake", (8, 6), lambda batch: torch.cat([batch.mean((2, 3)), batch.amax((2, 3))], 1))
IMAGES = 12


def finish(folder: Path, stage: str, inputs: dict[str, str], settings: dict[str, Any], **figures: Any) -> str:
    """Write a stage's manifest and cost, and return its content."""
    files.write_json(folder / store.COST, {"seconds": 2.5, "host": "somewhere"})
    document = {"stage": stage, "version": 1, "fingerprint": folder.name, "settings": settings, "inputs": inputs}
    store.write_manifest(folder, {**document, "figures": figures}, store.listing(folder))
    return store.ref(folder).content


def write_frames(folder: Path, raw: Path) -> list[Frame]:
    rng = np.random.default_rng(0)
    frames = []
    for split in ("train", "test"):
        for number in range(10):
            name = f"{split}{number}"
            for part, mode in (("visible", "RGB"), ("lwir", "L")):
                pixels = rng.integers(0, 200, (6, 8, 3) if mode == "RGB" else (6, 8), dtype=np.uint8)
                (raw / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(raw / part / f"{name}.png")
            paths = (f"visible/{name}.png", f"lwir/{name}.png")
            frames.append(Frame(name, "folder", split, "", f"v{number}", "", "", *paths, "", "", 8, 6))
    records.write_rows(folder / "frames.parquet", frames, Frame.SCHEMA)
    rejects = [Reject("x", "x.jpg", "truncated_image", "cut")] * 2
    records.write_rows(folder / "rejects.parquet", rejects, Reject.SCHEMA)
    return frames


def caption(frame: Frame) -> Caption:
    text = f"a road with {frame.id}"
    return Caption(frame.id, frame.split, text, forms.infrared(text), forms.grayscale(text), "rules", 9, False)


def write_samples(folder: Path, captions: Path) -> None:
    settings = SamplesSettings(images=IMAGES, steps=4, search=RandomSearch(candidates=5), images_per_shard=5)
    tables = {"candidates": samples.CANDIDATES, "contrasts": samples.CONTRASTS}
    output = ShardedOutput.open(folder, run={}, items=IMAGES, per_shard=5, columns=samples.COLUMNS, tables=tables)
    wanted = samples.plan(captions, settings)
    for number in output.missing():
        with output.shard(number) as shard:
            own = [wanted[index] for index in output.items(number)]
            for sample in samples.make(FakeGenerator(latent_shape=(3, 6, 8)), FakeVerifier(), own, settings, {}):
                shard.add(sample)
    output.finish()


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """A dataset's folder in which all stages but the report are done."""
    raw, root = tmp_path / "raw", tmp_path / "data" / "tiny"
    names = ("frames", "captions", "negatives", "verifier", "adapter", "samples", "shards")
    folders = {name: root / f"{number:02d}-{name}" / "fingerprint" for number, name in enumerate(names, start=1)}
    for folder in folders.values():
        folder.mkdir(parents=True)
    frames = write_frames(folders["frames"], raw)
    settings = FramesSettings(source="folder", root=str(raw)).model_dump(mode="json")
    content = {"frames": finish(folders["frames"], "frames", {}, {"frames": settings})}
    records.write_rows(folders["captions"] / "captions.parquet", map(caption, frames), Caption.SCHEMA)
    content["captions"] = finish(folders["captions"], "captions", dict(content), {})
    finish(folders["negatives"], "negatives", dict(content), {"negatives": {}})
    finish(folders["verifier"], "verifier", dict(content), {}, auc={"gray": 0.99, "match": 0.8})
    (folders["adapter"] / "weights.bin").write_bytes(b"1")
    content["adapter"] = finish(folders["adapter"], "adapter", dict(content), {"adapter": {"rank": 16}})
    write_samples(folders["samples"], folders["captions"])
    finish(folders["samples"], "samples", dict(content), {})
    finish(folders["shards"], "shards", {}, {})
    del folders["adapter"]
    return Inputs(**folders)


def made(inputs: Inputs, out: Path, settings: ReportSettings = SETTINGS, **more: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return build(settings, inputs, out, more.get("net", NET), more.get("verifier", FakeVerifier()))


def test_the_figures_stand_at_equal_n_with_their_net(inputs: Inputs, tmp_path: Path) -> None:
    figures = made(inputs, tmp_path / "out")
    assert figures["n"] == 10 and figures["images"] == IMAGES and figures["nfe_per_image"] == 5 * 4
    assert figures["feature_net"] == "fake" and figures["verifier_auc"] == {"gray": 0.99, "match": 0.8}
    assert set(figures["fid"]) == {"floor", "grayscale", "unguided", "guided", "worst"}
    assert set(figures["irscore"]) == {"real", "grayscale", "unguided", "guided", "worst"}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == figures


def test_guided_images_are_the_kept_and_unguided_the_first_ones(inputs: Inputs, tmp_path: Path) -> None:
    score = made(inputs, tmp_path / "out", ReportSettings(bootstrap=0, images=1000))["irscore"]
    assert score["worst"] < score["unguided"] < score["guided"]
    every = made(inputs, tmp_path / "all", ReportSettings(bootstrap=0))
    assert every["search"]["best_of"][0] < every["search"]["best_of"][-1]
    assert len(every["search"]["best_of"]) == 5


def test_a_report_is_the_same_figures_again(inputs: Inputs, tmp_path: Path) -> None:
    assert made(inputs, tmp_path / "a") == made(inputs, tmp_path / "b")


def test_fewer_images_are_taken_where_the_settings_say_so(inputs: Inputs, tmp_path: Path) -> None:
    assert made(inputs, tmp_path / "out", ReportSettings(bootstrap=2, images=6))["n"] == 6


def test_the_page_shows_pictures_costs_rejects_and_lineage(inputs: Inputs, tmp_path: Path) -> None:
    made(inputs, tmp_path / "out")
    html = (tmp_path / "out" / "index.html").read_text()
    assert html.count("data:image/png;base64,") == 3 * 4
    assert "<h1>tiny</h1>" in html and "truncated image" in html and "2.5 s" in html
    assert "rank: 16" in html, "the adapter is an input of samples alone, yet part of the lineage"
    assert "Only 10 images on each side" in html
    assert "a road with train" in html and "cos_infrared" in html


def test_nothing_but_the_two_files_is_left(inputs: Inputs, tmp_path: Path) -> None:
    made(inputs, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "report.json"]


def test_a_verifier_that_gives_nan_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="10 of 10 real images"):
        made(inputs, tmp_path / "out", verifier=FakeVerifier(score_is_nan=True))
    assert not (tmp_path / "out" / "report.json").exists()


def test_images_of_several_sizes_are_measured(inputs: Inputs, tmp_path: Path) -> None:
    before = made(inputs, tmp_path / "before")
    raw = tmp_path / "raw" / "lwir"
    for number in range(0, 10, 3):
        Image.open(raw / f"test{number}.png").resize((16, 12)).save(raw / f"test{number}.png")
    after = made(inputs, tmp_path / "after")
    assert after["n"] == before["n"] and after["fid"] != before["fid"]


def test_a_lost_samples_table_is_named(inputs: Inputs, tmp_path: Path) -> None:
    next((inputs.samples / "contrasts").glob("*")).unlink()
    with pytest.raises(StoreError, match="contrasts"):
        made(inputs, tmp_path / "out")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    path = tmp_path / "net.safetensors"
    monkeypatch.setattr(nets, "inception_path", lambda: tmp_path / "absent.pt")
    monkeypatch.setattr(nets, "scenenet_path", lambda: path)
    return lambda data: (path.write_bytes(data), path)[1]


def test_another_feature_net_is_another_report(weights: Callable[[bytes], Path]) -> None:
    weights(b"one")
    first = report.externals(ReportSettings())
    weights(b"other")
    assert report.externals(ReportSettings()) != first
    assert first["feature_net"].startswith("scenenet ")
