"""What all exports have in common; each is loaded by its own consumer in the file beside."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from irgen import exports, store
from irgen.cli import app
from irgen.errors import SettingsError, StoreError
from irgen.exports import FORMATS, export
from irgen.shards.dataset import find
from tests.finished import CLASSES, IMAGES, agreement, box, boxes, encoded, kept, key
from tests.shards.outputs import contents


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_copies_every_image_byte_for_byte(form, dataset, tmp_path):
    made = export(dataset, form, tmp_path / "out")
    trusted = [one for number in kept() for one in boxes(number) if not one["ignore"]]
    assert made.figures["images"] == IMAGES - 1
    assert made.figures["boxes"] == len(trusted) == sum(made.figures["boxes_by_class"].values())
    assert list(made.figures["boxes_by_class"]) == CLASSES
    assert made.figures["ignored"] == sum(len(boxes(number)) for number in kept()) - len(trusted)
    files = contents(tmp_path / "out")
    for number in kept():
        assert any(encoded(number) in data for name, data in files.items()), number


@pytest.mark.parametrize("form", FORMATS)
def test_equal_work_gives_equal_bytes(form, dataset, tmp_path):
    for name in "ab":
        export(dataset, form, tmp_path / name, min_score=0.2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_is_not_overwritten(form, dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        export(dataset, form, out)
    assert contents(tmp_path) == {"out/mine.txt": b"mine"}
    (out / "mine.txt").unlink()
    export(dataset, form, out)
    assert (out / "README.md").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_interrupted_it_leaves_nothing(form, dataset, tmp_path, monkeypatch):
    def power_cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(exports.card, "export", power_cut)
        with pytest.raises(KeyboardInterrupt):
            export(dataset, form, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_dataset_without_labels_is_exported_with_a_warning(form, unlabelled, tmp_path):
    made = export(unlabelled, form, tmp_path / "out")
    assert (made.figures["images"], made.figures["boxes"]) == (IMAGES - 1, 0)
    assert ["no labels" in warning for warning in made.warnings] == [True]
    assert "no labels" in (tmp_path / "out/README.md").read_text()


def test_a_box_under_the_score_asked_for_is_ignored_not_forgotten(dataset, tmp_path):
    everything = export(dataset, "coco", tmp_path / "all").figures
    strict = export(dataset, "coco", tmp_path / "strict", min_score=0.6).figures
    assert strict["boxes_by_class"]["cyclist"] == 0 < everything["boxes_by_class"]["cyclist"]
    assert strict["boxes"] + strict["ignored"] == everything["boxes"] + everything["ignored"]


def test_images_that_agree_too_little_are_left_out(dataset, tmp_path):
    figures = export(dataset, "coco", tmp_path / "out", min_agreement=0.6).figures
    wanted = [number for number in kept() if agreement(number) >= 0.6]
    assert (figures["images"], figures["images_left_out"]) == (len(wanted), IMAGES - 1 - len(wanted))
    names = {path.stem for path in (tmp_path / "out/images").iterdir()}
    assert names == {key(number) for number in wanted}


@pytest.mark.parametrize("threshold", [{"min_score": 1.5}, {"min_agreement": -0.1}, {"min_score": float("nan")}])
def test_a_threshold_out_of_range_is_refused(threshold, dataset, tmp_path):
    with pytest.raises(SettingsError, match=next(iter(threshold))):
        export(dataset, "coco", tmp_path / "out", **threshold)


def test_an_unknown_form_lists_those_there_are(dataset, tmp_path):
    with pytest.raises(SettingsError, match="coco, yolo, hf, voc"):
        export(dataset, "csv", tmp_path / "out")


def test_nothing_left_is_an_error(dataset, tmp_path):
    # No image's agreement is above 1, and 1 itself is taken: the four first in five are not.
    export(dataset, "coco", tmp_path / "some", min_agreement=1.0)
    folder = find(dataset)
    own = Path(shutil.copytree(folder, tmp_path / "copy"))
    with_index(own, lambda row: row | {"agreement": 0.5})
    with pytest.raises(StoreError, match="none of its 22 images"):
        export(own, "coco", tmp_path / "none", min_agreement=1.0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (box(x=45), "not within 48x32"),
        (box(w=0), "has no area"),
        (box(h=-3), "has no area"),
        (box("zebra"), "'zebra' is none of cyclist, person"),
        (box(score=float("nan")), "not finite"),
    ],
)
def test_a_useless_box_is_named(bad, said, dataset, tmp_path):
    own = Path(shutil.copytree(find(dataset), tmp_path / "copy"))
    with_index(own, lambda row: row | {"boxes": [box(), bad]} if row["key"] == key(7) else row)
    with pytest.raises(StoreError, match=f"box 1 of image 000000007: .*{said}"):
        export(own, "yolo", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_dataset_is_refused(dataset, tmp_path):
    own = Path(shutil.copytree(find(dataset), tmp_path / "copy"))
    path = next((own / "shards").glob("000003*"))
    data = bytearray(path.read_bytes())
    data[data.index(encoded(12)) + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="000000012"):
        export(own, "coco", tmp_path / "out")
    (own / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"index\.parquet"):
        export(own, "coco", tmp_path / "out")


def test_the_command_says_what_it_made(dataset, tmp_path):
    arguments = ["export", str(dataset), "--format", "yolo", "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["format"], told["images"], told["ignored"]) == ("yolo", IMAGES - 1, 4)
    assert "YOLO knows no ignore boxes" in result.stderr


def with_index(folder: Path, change) -> None:
    """Change the index's rows as a forger would who mends the manifest, too."""
    index = pq.read_table(folder / "index.parquet")
    rows = [change(row) for row in index.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=index.schema), folder / "index.parquet")
    manifest = store.read_manifest(folder)
    document = {name: value for name, value in manifest.items() if name not in ("files", "content")}
    store.write_manifest(folder, document, store.listing(folder))
