"""Each export, read by what it is made for."""

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from irgen.exports import export
from tests.finished import CLASSES, EMPTY, HEIGHT_PX, WIDTH_PX, boxes, finished, kept, key, pixels


def trusted(number: int) -> list[dict]:
    return [one for one in boxes(number) if not one["ignore"]]


def xywh(one: dict) -> list[float]:
    return [one["x_px"], one["y_px"], one["w_px"], one["h_px"]]


@pytest.fixture(scope="module")
def coco(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("coco") / "out"
    export(dataset, "coco", out)
    return out


def test_pycocotools_loads_coco(coco):
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(coco / "annotations.json")
    assert [one["name"] for one in truth.loadCats(truth.getCatIds())] == CLASSES
    assert len(truth.getImgIds()) == len(kept())
    for row in truth.loadImgs(truth.getImgIds()):
        number = row["id"] - 1
        with Image.open(coco / row["file_name"]) as image:
            assert image.size == (row["width"], row["height"]) == (WIDTH_PX, HEIGHT_PX)
        found = truth.loadAnns(truth.getAnnIds(row["id"], iscrowd=False))
        assert [one["bbox"] for one in found] == [xywh(one) for one in trusted(number)]
        assert all(one["id"] > 0 for one in found)


def test_pycocotools_evaluates_coco(coco):
    """Perfect detections, and others on ignore boxes only: AP is 1, since the latter are neither hit nor miss."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(coco / "annotations.json")
        rows = truth.loadAnns(truth.getAnnIds())
        detections = [
            {**{name: row[name] for name in ("image_id", "category_id", "bbox")}, "score": 1.0 - row["iscrowd"] / 100}
            for row in rows
        ]
        assert any(row["iscrowd"] for row in rows)
        judged = COCOeval(truth, truth.loadRes(detections), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        assert judged.stats[0] == pytest.approx(1.0)
        missed = [one for one in detections if one["category_id"] == 1]
        judged = COCOeval(truth, truth.loadRes(missed), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    assert judged.stats[0] == pytest.approx(0.5)


def test_yolo_labels_keep_ultralytics_rules(dataset, tmp_path):
    """As its `verify_image_label` has them: five columns, shares within 0 and 1, class < nc, no line twice."""
    export(dataset, "yolo", tmp_path / "out")
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert data["channels"] == 1
    assert data["nc"] == len(data["names"]) == 2
    assert [data["names"][number] for number in range(2)] == CLASSES
    images = sorted((tmp_path / "out" / data["train"]).iterdir())
    assert [path.stem for path in images] == [key(number) for number in kept()]
    for path in images:
        # Where Ultralytics looks: the last /images/ of the path becomes /labels/.
        head, tail = str(path).rsplit("/images/", 1)
        lines = Path(f"{head}/labels/{tail}").with_suffix(".txt").read_text().splitlines()
        values = np.array([line.split() for line in lines], np.float64).reshape(len(lines), 5)
        assert len(set(lines)) == len(lines)
        assert (values[:, 1:] >= 0).all() and (values[:, 1:] <= 1).all() and (values[:, 3:] > 0).all()
        assert (values[:, 0] < data["nc"]).all()
        centre, extent = values[:, 1:3] * [WIDTH_PX, HEIGHT_PX], values[:, 3:] * [WIDTH_PX, HEIGHT_PX]
        found = np.hstack([centre - extent / 2, extent])
        wanted = [xywh(one) for one in trusted(int(path.stem))]
        assert len(found) == len(wanted)
        assert np.array(sorted(found.tolist())) == pytest.approx(np.array(sorted(wanted)), abs=1e-4)


def test_hugging_face_gives_images_and_typed_columns_though_the_first_have_no_box(dataset, tmp_path):
    import datasets

    export(dataset, "hf", tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == len(kept())
    assert isinstance(rows.features["png"], datasets.Image)
    objects = rows.features["json"]["objects"]
    assert objects["bbox"] == datasets.List(datasets.List(datasets.Value("float64"), length=4))
    assert objects["category"].feature.names == CLASSES
    assert objects["ignore"] == datasets.List(datasets.Value("bool"))
    assert rows[0]["json"]["objects"]["bbox"] == rows[EMPTY - 1]["json"]["objects"]["bbox"] == []
    for number, row in zip(kept(), rows, strict=True):
        assert (np.asarray(row["png"]) == pixels(number)).all()
        found = row["json"]["objects"]
        assert found["bbox"] == [xywh(one) for one in boxes(number)]
        assert [CLASSES[place] for place in found["category"]] == [one["label"] for one in boxes(number)]
        assert found["ignore"] == [one["ignore"] for one in boxes(number)]
        assert found["score"] == [one["score"] for one in boxes(number)]


def test_hugging_face_gets_a_new_shard_every_so_many_images(dataset, tmp_path, monkeypatch):
    from webdataset import WebDataset

    monkeypatch.setattr("irgen.exports.huggingface.IMAGES_PER_SHARD", 10)
    export(dataset, "hf", tmp_path / "out")
    tars = sorted(str(path) for path in (tmp_path / "out/data").iterdir())
    assert [Path(tar).name for tar in tars] == [f"train-{number:05d}.tar" for number in range(3)]
    keys = [sample["__key__"] for sample in WebDataset(tars, shardshuffle=False)]
    assert keys == [key(number) for number in kept()]
    sheets = [json.loads(sample["json"]) for sample in WebDataset(tars, shardshuffle=False)]
    assert len({frozenset(sheet) for sheet in sheets}) == 1


def test_torchvision_reads_pascal_voc(tmp_path):
    from torchvision.datasets import VOCDetection

    dataset = finished(tmp_path / "tiny", image_format="jpg")
    export(dataset, "voc", tmp_path / "root/VOCdevkit/VOC2012")
    rows = VOCDetection(str(tmp_path / "root"), year="2012", image_set="train")
    assert len(rows) == len(kept())
    for number, (image, target) in zip(kept(), rows, strict=True):
        assert image.size == (WIDTH_PX, HEIGHT_PX)
        found = target["annotation"].get("object", [])
        assert [int(one["difficult"]) for one in found] == [int(one["ignore"]) for one in boxes(number)]
        for one, wanted in zip(found, boxes(number), strict=True):
            left, top, right, bottom = (float(one["bndbox"][name]) for name in ("xmin", "ymin", "xmax", "ymax"))
            assert one["name"] == wanted["label"]
            # Counted from 1, both ends within.
            assert [left - 1, top - 1, right - left + 1, bottom - top + 1] == pytest.approx(xywh(wanted), abs=0.01)


@pytest.mark.parametrize(("form", "lines"), [("coco", 1), ("hf", len(kept()))])
def test_the_cards_example_runs(form, lines, dataset, tmp_path, monkeypatch, capsys):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    export(dataset, form, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    capsys.readouterr()
    (snippet,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    exec(snippet, {})
    told = [line for line in capsys.readouterr().out.splitlines() if line[0] in "(0123456789"]
    assert len(told) == lines
