import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from irgen import files, records, shards, store
from irgen.captions import forms
from irgen.errors import SettingsError, StoreError, WeightsError
from irgen.metrics import nets
from irgen.metrics.features import FeatureNet
from irgen.records import LABELLED_BOX, Caption, Frame, Reject
from irgen.report import budgets, sets
from irgen.report.build import Inputs, build
from irgen.report.looking import Judges
from irgen.settings import FramesSettings, RandomSearch, RealismChoice, ReportSettings, SamplesSettings, ZeroOrderSearch
from irgen.shards import ShardedOutput
from irgen.shards.dataset import INDEX
from irgen.stages import report, samples
from tests.fakes import FakeGenerator, FakeVerifier

SETTINGS = ReportSettings(bootstrap=5, grid_images=3)
NET = FeatureNet("fake", (8, 6), lambda batch: torch.cat([batch.mean((2, 3)), batch.amax((2, 3))], 1))
OTHER = FeatureNet("other", (4, 4), lambda batch: batch.std((2, 3)), independent=False)
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
            time = "day" if number % 2 else "night"
            frames.append(Frame(name, "folder", split, "", f"v{number}", time, "", *paths, "", "", 8, 6))
    records.write_rows(folder / "frames.parquet", frames, Frame.SCHEMA)
    rejects = [Reject("x", "x.jpg", "truncated_image", "cut")] * 2
    records.write_rows(folder / "rejects.parquet", rejects, Reject.SCHEMA)
    return frames


def caption(frame: Frame) -> Caption:
    text = f"a road with {frame.id}"
    return Caption(frame.id, frame.split, text, forms.infrared(text), forms.grayscale(text), "rules", 9, False)


SAMPLES = SamplesSettings(images=IMAGES, steps=4, search=RandomSearch(candidates=5), images_per_shard=5)


def write_samples(folder: Path, captions: Path, settings: SamplesSettings = SAMPLES) -> None:
    tables = {"candidates": samples.CANDIDATES, "contrasts": samples.CONTRASTS}
    output = ShardedOutput.open(folder, run={}, items=IMAGES, per_shard=5, columns=samples.COLUMNS, tables=tables)
    wanted = samples.plan(captions, settings)
    for number in output.missing():
        with output.shard(number) as shard:
            own = [wanted[index] for index in output.items(number)]
            for sample in samples.make(FakeGenerator(latent_shape=(3, 6, 8)), FakeVerifier(), own, settings, {}):
                shard.add(sample)
    output.finish()


def write_index(folder: Path, boxes: list[dict[str, Any]]) -> None:
    """As stage shards writes it, as far as labels go; the first image has the boxes."""
    keys = [f"{number:09d}" for number in range(IMAGES)]
    mode = "teacher" if boxes else "none"
    rows = [
        {"key": key, "status": "ok", "label_mode": mode, "agreement": 0.5, "boxes": boxes if number == 0 else []}
        for number, key in enumerate(keys)
    ]
    schema = pa.schema(
        [
            ("key", pa.string()),
            ("status", pa.string()),
            ("label_mode", pa.string()),
            ("agreement", pa.float64()),
            ("boxes", pa.list_(LABELLED_BOX)),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / INDEX)


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
    finish(folders["samples"], "samples", dict(content), {"samples": SAMPLES.model_dump(mode="json"), "base": {}})
    write_index(folders["shards"], [])
    finish(folders["shards"], "shards", {}, {})
    del folders["adapter"]
    return Inputs(**folders)


def made(inputs: Inputs, out: Path, settings: ReportSettings = SETTINGS, **more: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return build(settings, inputs, out, Judges([NET, OTHER], more.get("verifier", FakeVerifier())))


def test_the_figures_stand_at_equal_n_with_their_net(inputs: Inputs, tmp_path: Path) -> None:
    figures = made(inputs, tmp_path / "out")
    assert figures["n"] == 10 and figures["images"] == IMAGES and figures["nfe_per_image"] == 5 * 4
    assert figures["feature_net"] == "fake" and figures["verifier_auc"] == {"gray": 0.99, "match": 0.8}
    made_sets = {"grayscale", "inverted", "unguided", "guided", "worst"}
    assert set(figures["fid"]) == {"floor", *made_sets}
    assert set(figures["irscore"]) == {"real", *made_sets}
    assert {name: judge["independent"] for name, judge in figures["judges"].items()} == {"fake": True, "other": False}
    assert figures["mix"] == {"day": 5, "night": 5}
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
    assert html.count("data:image/png;base64,") == 3 * 4 + 5 + 5
    assert "<h1>tiny</h1>" in html and "truncated image" in html and "2.5 s" in html
    assert "rank: 16" in html, "the adapter is an input of samples alone, yet part of the lineage"
    assert "Only 10 images on each side" in html
    assert "a road with train" in html and "cos infrared" in html


def test_nothing_but_the_three_files_is_left(inputs: Inputs, tmp_path: Path) -> None:
    made(inputs, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "figures.parquet",
        "index.html",
        "report.json",
    ]


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
    assert first["feature_net"].startswith("scenenet ") and first["judge random-conv"].startswith("random-conv ")


def test_the_same_figures_lie_in_parquet(inputs: Inputs, tmp_path: Path) -> None:
    figures = made(inputs, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "figures.parquet").to_pandas().set_index(["judge", "metric", "images"])
    assert set(rows["n"]) == {10}
    for name, value in figures["fid"].items():
        assert rows.loc[("fake", "frechet", name), "value"] == value
        low, high = rows.loc[("fake", "frechet", name), ["low", "high"]]
        assert [low, high] == figures["intervals"]["fid"][name]


def test_smaller_budgets_are_measured_on_what_they_would_have_kept(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = FakeGenerator(latent_shape=(3, 6, 8))
    monkeypatch.setattr(budgets, "load", lambda samples, dataset: generator)
    figures = made(inputs, tmp_path / "out", ReportSettings(bootstrap=2, budgets=(3, 5, 2)))
    curve = {row["candidates"]: row for row in figures["curve"] if row["metric"] == "irscore"}
    assert list(curve) == [1, 2, 3, 5] and [row["nfe"] for row in curve.values()] == [4, 8, 12, 20]
    # All 12 images have all 5 candidates' scores on record; at N = 10 the same ones are chosen of every set.
    table = shards.candidates(inputs.samples)
    keys = sets_of_guided(inputs)
    recorded = table[table["key"].isin(keys) & (table["candidate"] < 3)].groupby("key")["score"].max().mean()
    assert curve[3]["value"] == pytest.approx(recorded, abs=1e-12)
    scores = budgets.guide_scores(inputs.samples, keys, budgets.points(inputs.samples, (3,)))
    assert scores["best_of_3"].mean() == pytest.approx(recorded, abs=1e-12)
    assert 0 < generator.nfe < 2 * 10 * 4, "only what is not stored is made again"


def test_a_search_under_another_guide_is_judged_by_that_guides_score(inputs: Inputs, tmp_path: Path) -> None:
    figures = made(inputs, tmp_path / "own")
    assert figures["guide"] == ["irscore"] and figures["alarm"]["goal"] == "IRSCORE"
    assert not [row for row in figures["curve"] if row["metric"] == "score"]
    document = store.read_manifest(inputs.samples)
    led = SAMPLES.model_copy(update={"guide": RealismChoice()}).model_dump(mode="json")
    changed = {**document, "settings": {"samples": led, "base": {}}}
    store.write_manifest(inputs.samples, changed, store.listing(inputs.samples))
    figures = made(inputs, tmp_path / "out")
    assert figures["guide"] == ["realism"] and figures["alarm"]["goal"] == "the guide's score"
    recorded = shards.table(inputs.samples).set_index("key").loc[list(sets_of_guided(inputs))]
    curve = {row["candidates"]: row["value"] for row in figures["curve"] if row["metric"] == "score"}
    assert curve == {
        1: pytest.approx(recorded["unguided_score"].mean()),
        5: pytest.approx(recorded["score"].mean()),
    }
    assert "maximised realism instead" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("name", ["unguided", "guided", "worst"])
def test_no_keys_read_no_images(inputs: Inputs, name: str) -> None:
    # A chunk of a budget's images may hold none that was stored.
    one = sets.generated_sets(inputs.samples, inputs.captions, inputs.frames)[name]
    assert list(one.read([])) == []


def sets_of_guided(inputs: Inputs) -> tuple[str, ...]:
    made_sets = sets.generated_sets(inputs.samples, inputs.captions, inputs.frames)
    everything = {**sets.frame_sets(inputs.frames, inputs.captions), **made_sets}
    return sets.equalised(everything, list(made_sets), 2252, 0).sets["guided"].keys


@pytest.mark.parametrize(
    ("samples_settings", "wanted", "message"),
    [
        (SAMPLES, (6,), "asks for 6 candidates, but the search had 5"),
        (
            SAMPLES.model_copy(update={"search": ZeroOrderSearch()}),
            (2,),
            "first candidates of zero_order are no search",
        ),
    ],
)
def test_budgets_that_are_not_within_the_search_are_refused(
    inputs: Inputs, tmp_path: Path, samples_settings: SamplesSettings, wanted: tuple[int, ...], message: str
) -> None:
    document = store.read_manifest(inputs.samples)
    settings = {"samples": samples_settings.model_dump(mode="json"), "base": {}}
    store.write_manifest(inputs.samples, {**document, "settings": settings}, store.listing(inputs.samples))
    with pytest.raises(SettingsError, match=message):
        made(inputs, tmp_path / "out", ReportSettings(budgets=wanted))


def test_labels_are_summed_up_and_their_contrast_is_measured(inputs: Inputs, tmp_path: Path) -> None:
    box = {"x_px": 2.0, "y_px": 1.0, "w_px": 3.0, "h_px": 3.0, "score": 0.9, "source": "teacher", "teacher_iou": 0.8}
    write_index(
        inputs.shards, [{"label": "person", "ignore": False, **box}, {"label": "person", "ignore": True, **box}]
    )
    labels = made(inputs, tmp_path / "out", ReportSettings(bootstrap=3, grid_images=1))["labels"]
    assert labels["mode"] == "teacher" and labels["boxes"] == {"person": 1} and labels["ignored"] == 1
    assert labels["agreement"] == 0.5 and labels["empty"] == pytest.approx(11 / 12)
    rows = [row for row in labels["contrast"] if row["images"] == "guided"]
    assert sum(row["count"] for row in rows) <= 1
