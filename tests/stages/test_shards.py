"""The finished dataset: from samples to what its users read."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from irgen import files, pipeline, records, shards, store
from irgen.errors import StoreError
from irgen.records import Caption
from irgen.settings import Manifest, ShardsSettings
from irgen.shards import ShardedOutput, licences
from irgen.stages import shards as stage
from irgen.stages.labels import SCHEMA
from irgen.stages.samples import CANDIDATES, COLUMNS
from tests import finished
from tests.shards.outputs import FAILED, ITEMS, PER_SHARD, contents, png

SETTINGS = ShardsSettings(licence="cc-by-4.0", description="Streets by night.")
UNLABELLED = {
    "mode": "none",
    "modes": {"none": ITEMS - 1},
    "classes": [],
    "boxes": 0,
    "boxes_by_class": {},
    "ignored": 0,
    "rejected": {},
    "agreement": 1.0,
}
NO_LABELS = {"label_mode": "none", "agreement": 1.0, "boxes": []}
RUN = {"base": "base-1", "adapter": "adapter-1", "verifier": "verifier-1", "algorithm": "random", "steps": 4}


def sample(index: int) -> shards.Sample:
    row = finished.filled(COLUMNS) | {"frame_id": f"f{index}", "prompt": f"An INFRARED photo of scene {index}"}
    if index == FAILED:
        return shards.Sample(index, b"", "png", {}, "", row, reason="flat image")
    sheet = row | {"key": f"{index:09d}", "caption": f"scene {index}", "noise": '{"seed": "1"}'}
    return shards.Sample(index, png(index), "png", sheet, f"scene {index}", row)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    """Finished outputs of the stages before."""
    root = tmp_path_factory.mktemp("data")
    folders = {name: root / name for name in ("frames", "captions", "samples", "labels")}
    for folder in folders.values():
        folder.mkdir()
    manifest = Manifest(dataset="tiny", frames={"source": "miniature"}).model_dump(mode="json")
    captions = [Caption(f"f{n}", "train", f"scene {n}", "", "", "rules", 9, False) for n in range(3)]
    records.write_rows(folders["captions"] / "captions.parquet", captions, Caption.SCHEMA)
    output = ShardedOutput.open(
        folders["samples"],
        run=RUN,
        items=ITEMS,
        per_shard=PER_SHARD,
        columns=COLUMNS,
        tables={"candidates": CANDIDATES},
    )
    for number in output.pending():
        with output.shard(number) as shard:
            for index in output.items(number):
                shard.add(sample(index))
    output.finish()
    rows = [{"key": f"{n:09d}", "mode": "none", "boxes": [], "agreement": 1.0} for n in range(ITEMS) if n != FAILED]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folders["labels"] / "labels.parquet")
    for name, folder in folders.items():
        figures = {"classes": []} if name == "labels" else {}
        document = {"stage": name, "fingerprint": "f" * 16, "settings": manifest, "inputs": {}, "figures": figures}
        store.write_manifest(folder, document, store.listing(folder))
    return folders


@pytest.fixture(scope="module")
def dataset(inputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    figures = stage.run(shards=SETTINGS, **inputs, out=out)
    assert figures == {"images": ITEMS - 1, "failed": 1, "rows": ITEMS, "shards": 4, "labels": UNLABELLED}
    store.write_manifest(out, {"stage": "shards", "figures": figures}, store.listing(out))
    return out


def test_it_holds_the_samples_as_they_are(dataset, inputs):
    assert shards.verify(dataset) == []
    for record, before in zip(shards.read(dataset), shards.read(inputs["samples"]), strict=True):
        assert record == replace(before, sheet={**before.sheet, **NO_LABELS})
    table, samples = shards.table(dataset), shards.table(inputs["samples"])
    same = [name for name in samples.columns if name != "offset"]
    pd.testing.assert_frame_equal(table[same], samples[same])
    assert set(table.columns) - set(samples.columns) == {*NO_LABELS, "caption"}


def test_the_index_finds_every_image_in_its_shard(dataset):
    index = pd.read_parquet(dataset / "index.parquet")
    assert list(index["key"]) == [f"{n:09d}" for n in range(ITEMS)]
    assert list(index.loc[index["status"] == "failed", "key"]) == [f"{FAILED:09d}"]
    for row in index[index["status"] == "ok"].itertuples():
        data = (dataset / row.shard).read_bytes()[row.offset : row.offset + row.bytes]
        assert data == png(int(row.key))
    assert set(COLUMNS.names) <= set(index.columns)


def test_interrupted_it_carries_on_to_the_same_bytes(dataset, inputs, tmp_path, monkeypatch):
    def power_cut(*arguments):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(stage.card, "write", power_cut)
        with pytest.raises(KeyboardInterrupt):
            stage.run(shards=SETTINGS, **inputs, out=out)
    assert not (out / "README.md").exists()
    for victim in ("index.parquet", "commit/000001.json"):
        (out / victim).unlink()
    stage.run(shards=SETTINGS, **inputs, out=out)
    expected = contents(dataset)
    del expected["manifest.json"]
    assert contents(out) == expected


def test_samples_that_lost_an_image_are_refused(inputs, tmp_path):
    samples = Path(shutil.copytree(inputs["samples"], tmp_path / "samples"))
    path = next((samples / "shards").glob("000001*"))
    data = bytearray(path.read_bytes())
    data[data.index(b"000000005.png")] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="000001"):
        stage.run(shards=SETTINGS, **{**inputs, "samples": samples}, out=tmp_path / "out")


def test_the_cards_header_is_what_the_hub_reads(dataset):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(dataset / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.configs == [{"config_name": "default", "data_files": "shards/*.tar"}]
    header = yaml.safe_load((dataset / "README.md").read_text().split("---")[1])
    assert header["task_categories"] == ["text-to-image"]
    for told in (
        "Streets by night.",
        "10 images in 4 shards",
        "1 more of the 11",
        "adapter-1",
        "3 by rules",
        "`caption`",
        "`boxes`",
        "nobody labelled these images",
    ):
        assert told in card.text


def test_the_cards_examples_run(dataset, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(dataset)
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", (dataset / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 4
    said = []
    for snippet in snippets:
        exec(snippet, {})
        said.append([line.split()[:4] for line in capsys.readouterr().out.splitlines()])
    assert len(said[0]) == ITEMS - 1
    assert said[1] == said[2] == said[3]
    assert [line[:3] for line in said[0]] == [line[:3] for line in said[1]]


def test_hugging_face_reads_the_folder_by_its_card(dataset, tmp_path):
    import datasets

    rows = datasets.load_dataset(str(dataset), split="train", cache_dir=str(tmp_path))
    assert len(rows) == ITEMS - 1
    assert rows[9]["json"] == {**sample(10).sheet, **NO_LABELS}
    assert rows.features["json"]["boxes"].feature["x_px"] == datasets.Value("float64")
    assert rows[9]["png"].tobytes() == Image.open(io.BytesIO(png(10))).convert("RGB").tobytes()


def test_without_a_licence_of_its_own_the_card_takes_the_frames(inputs, tmp_path):
    for source, licence in (("kaist", "cc-by-nc-sa-4.0"), ("folder", "other")):
        frames = tmp_path / source
        frames.mkdir()
        store.write_manifest(frames, {"stage": "frames", "settings": {"frames": {"source": source}}}, [])
        figures = {"rows": 1, "images": 1, "failed": 0, "shards": 1}
        others = (inputs[name] for name in ("captions", "samples", "labels"))
        facts = stage.card.gather(ShardsSettings(), frames, *others, figures | {"labels": UNLABELLED}, [])
        assert yaml.safe_load(stage.card.write(facts).split("---")[1])["license"] == licence


def test_a_damaged_dataset_is_mended_shard_by_shard(inputs, tmp_path, monkeypatch):
    refs = {name: store.ref(folder) for name, folder in inputs.items()}
    made = pipeline.run_stage(pipeline.stage_named("shards"), tmp_path, {"shards": SETTINGS}, refs)
    before = contents(made.ref.folder)
    path = next((made.ref.folder / "shards").glob("000002*"))
    files.write_bytes(path, path.read_bytes()[:-1] + b"x")
    written = []
    shard = ShardedOutput.shard
    monkeypatch.setattr(ShardedOutput, "shard", lambda self, number: (written.append(number), shard(self, number))[1])
    again = pipeline.run_stage(pipeline.stage_named("shards"), tmp_path, {"shards": SETTINGS}, refs)
    assert written == [2]
    assert again.ref == made.ref
    after = contents(made.ref.folder)
    assert {name for name in before if before[name] != after.get(name)} <= {"cost.json"}
    assert json.loads(after["manifest.json"])["figures"]["shards"] == 4
    assert "torch" not in vars(sys.modules["irgen.stages.shards"])


@pytest.fixture
def labelled_inputs(tmp_path) -> dict[str, Path]:
    """Outputs of the stages before, labels among them, that a test may change."""
    return finished.write_inputs(tmp_path / "tiny")


def relabel(folder: Path, change) -> None:
    rows = [change(row) for row in pq.read_table(folder / "labels.parquet").to_pylist()]
    table = pa.Table.from_pylist([row for row in rows if row], schema=SCHEMA)
    pq.write_table(table, folder / "labels.parquet")
    finished.seal(folder, "labels")


def test_boxes_stand_in_each_sheet_and_in_the_index(labelled_inputs, tmp_path):
    out = tmp_path / "out"
    figures = stage.run(shards=SETTINGS, **labelled_inputs, out=out)["labels"]
    index = pq.read_table(out / "index.parquet").to_pylist()
    for record, row in zip(shards.read(out), (row for row in index if row["status"] == "ok"), strict=True):
        wanted = finished.labels_of(int(record.key))
        assert record.sheet["boxes"] == row["boxes"] == wanted["boxes"]
        assert record.sheet["agreement"] == row["agreement"] == wanted["agreement"]
        assert record.sheet["label_mode"] == row["label_mode"] == "teacher"
    assert (index[finished.FAILED]["boxes"], index[finished.FAILED]["label_mode"]) == ([], "none")
    assert (figures["mode"], figures["boxes"], figures["ignored"], figures["rejected"]) == ("teacher", 16, 4, {})
    agreements = [finished.agreement(number) for number in finished.kept()]
    assert figures["agreement"] == pytest.approx(sum(agreements) / len(agreements))


def test_hugging_face_reads_boxes_though_the_first_images_have_none(labelled_inputs, tmp_path):
    import datasets

    stage.run(shards=SETTINGS, **labelled_inputs, out=tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["json"]["boxes"] for row in rows] == [finished.boxes(number) for number in finished.kept()]


def test_a_useless_box_is_rejected_with_its_reason_and_one_over_the_edge_is_cut(labelled_inputs, tmp_path):
    bad = {
        "box_outside": finished.box(x=60),
        "zero_size": finished.box(w=0),
        "unknown_class": finished.box("zebra"),
        "not_finite": finished.box(y=float("nan")),
    }
    over = finished.box(x=-3, y=20, w=8, h=30)
    strange = [*bad.values(), over]
    key = finished.key(5)
    relabel(labelled_inputs["labels"], lambda row: row | {"boxes": strange} if row["key"] == key else row)
    out = tmp_path / "out"
    figures = stage.run(shards=SETTINGS, **labelled_inputs, out=out)
    assert figures["labels"]["rejected"] == dict.fromkeys(sorted(bad), 1)
    rejects = [row for path in shards.parts(out, "rejects") for row in pq.read_table(path).to_pylist()]
    assert [(row["item"], row["reason"]) for row in rejects] == [
        (f"{key}#{number}", reason) for number, reason in enumerate(bad)
    ]
    index = {row["key"]: row for row in pq.read_table(out / "index.parquet").to_pylist()}
    assert index[key]["boxes"] == [over | {"x_px": 0.0, "w_px": 5.0, "h_px": 12.0}]
    assert "left out: zero_size | 1" in (out / "README.md").read_text()


def test_labels_that_left_out_an_image_are_refused(labelled_inputs, tmp_path):
    relabel(labelled_inputs["labels"], lambda row: None if row["key"] == finished.key(7) else row)
    with pytest.raises(StoreError, match="left out image 000000007"):
        stage.run(shards=SETTINGS, **labelled_inputs, out=tmp_path / "out")


def test_a_licence_that_allows_more_than_the_base_is_not_named():
    assert licences.licence("", "hit-uav", "miniature") == "cc-by-4.0"
    for base in ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-Krea-dev", "models/flux-dev", "unheard/of"):
        assert licences.licence("", "hit-uav", base) == "other"
    assert licences.licence("", "hit-uav", "black-forest-labs/FLUX.1-schnell") == "cc-by-4.0"
    assert licences.licence("", "kaist", "black-forest-labs/FLUX.1-dev") == "cc-by-nc-sa-4.0"
    assert licences.licence("mit", "kaist", "black-forest-labs/FLUX.1-dev") == "mit"
    assert "outputs" in licences.base_terms("black-forest-labs/FLUX.1-dev")
    assert "Apache-2.0" in licences.base_terms("black-forest-labs/FLUX.1-schnell")
