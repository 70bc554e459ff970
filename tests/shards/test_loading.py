"""A finished dataset for torch: every image once, boxes as torchvision's transforms take them."""

import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from irgen import shards, store
from irgen.errors import SettingsError, StoreError
from irgen.shards.dataset import find
from tests.finished import CLASSES, HEIGHT_PX, WIDTH_PX, agreement, boxes, encoded, finished, kept, key, pixels


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return finished(tmp_path_factory.mktemp("finished") / "tiny")


def keys(pairs) -> list[str]:
    return [target["key"] for _, target in pairs]


def check(image: torch.Tensor, target: dict) -> None:
    """Compare a pair with what the dataset was made of."""
    number = int(target["key"])
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.uint8
    assert (image.numpy() == pixels(number).transpose(2, 0, 1)).all()
    for name, ignore in (("boxes", False), ("ignored", True)):
        found, wanted = target[name], [one for one in boxes(number) if one["ignore"] is ignore]
        assert isinstance(found, tv_tensors.BoundingBoxes)
        assert (found.format.value, found.canvas_size, found.dtype) == ("XYXY", (HEIGHT_PX, WIDTH_PX), torch.float32)
        corners = [[one["x_px"], one["y_px"], one["x_px"] + one["w_px"], one["y_px"] + one["h_px"]] for one in wanted]
        assert found.tolist() == corners
        if name == "boxes":
            assert [CLASSES[label - 1] for label in target["labels"]] == [one["label"] for one in wanted]
            assert target["labels"].dtype == torch.int64
            assert target["scores"].tolist() == pytest.approx([one["score"] for one in wanted])
    assert (target["caption"], target["agreement"]) == (f"scene {number}", agreement(number))


def test_streamed_in_order_it_gives_every_image_and_its_boxes(dataset):
    pairs = list(shards.open_dataset(dataset, shuffle=0))
    assert keys(pairs) == [key(number) for number in kept()]
    for image, target in pairs:
        check(image, target)


def test_by_index_it_gives_the_same(dataset):
    images = shards.open_indexed(dataset)
    assert len(images) == len(kept())
    for place in (len(kept()) - 1, 0, 7):
        image, target = images[place]
        assert target["key"] == key(kept()[place])
        check(image, target)
    assert images[-1][1]["key"] == key(kept()[-1])
    with pytest.raises(IndexError, match="22 of 22"):
        images[22]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_gives_each_key_once(dataset, workers):
    for images, options in (
        (shards.open_dataset(dataset), {}),
        (shards.open_indexed(dataset), {"shuffle": True}),
    ):
        # Spawned: what a test before this one has left running in this process breaks the exit of forked workers.
        context = "spawn" if workers else None
        loader = DataLoader(
            images,
            batch_size=3,
            num_workers=workers,
            collate_fn=shards.collate,
            multiprocessing_context=context,
            **options,
        )
        batches = list(loader)
        found = Counter(target["key"] for _, targets in batches for target in targets)
        assert found == Counter(key(number) for number in kept())
        for pictures, targets in batches:
            for image, target in zip(pictures, targets, strict=True):
                check(image, target)


def test_an_epochs_order_is_its_own_and_comes_again(dataset):
    images = shards.open_dataset(dataset, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        images.set_epoch(epoch)
        orders.append(keys(images))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == [key(number) for number in kept()]
    assert keys(shards.open_dataset(dataset, seed=4)) != orders[0]


def test_workers_that_stay_are_told_of_the_epoch(dataset):
    images = shards.open_dataset(dataset)
    options = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = DataLoader(images, batch_size=3, collate_fn=shards.collate, **options)
    orders = []
    for epoch in (0, 1, 0):
        images.set_epoch(epoch)
        orders.append([target["key"] for _, targets in loader for target in targets])
    assert orders[0] == orders[2] != orders[1]


def test_nodes_share_the_images_out(dataset, monkeypatch):
    found = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        found += keys(shards.open_dataset(dataset, shuffle=0))
    assert sorted(found) == [key(number) for number in kept()]
    monkeypatch.setenv("WORLD_SIZE", "7")
    with pytest.raises(SettingsError, match="7 nodes share 6 shards"):
        next(iter(shards.open_dataset(dataset)))


@pytest.mark.parametrize("nodes", [2, 4, 5])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_nodes_that_train_together_take_as_many_steps(dataset, monkeypatch, nodes, workers):
    monkeypatch.setenv("WORLD_SIZE", str(nodes))
    left_out = []
    for epoch in range(3):
        found: list[list[str]] = []
        for rank in range(nodes):
            monkeypatch.setenv("RANK", str(rank))
            own: list[str] = []
            for worker in range(workers):
                monkeypatch.setenv("WORKER", str(worker))
                monkeypatch.setenv("NUM_WORKERS", str(workers))
                images = shards.open_dataset(dataset, min_agreement=0.2)
                images.set_epoch(epoch)
                own += keys(images)
            found.append(own)
        assert len({len(own) for own in found}) == 1 and found[0]
        taken = Counter(one for own in found for one in own)
        assert max(taken.values()) == 1
        left_out.append({key(number) for number in kept()} - set(taken))
    assert nodes == 2 or left_out[0] != left_out[1] or left_out[1] != left_out[2]


@pytest.mark.parametrize("opened", [lambda *a, **k: shards.open_dataset(*a, shuffle=0, **k), shards.open_indexed])
def test_thresholds_are_asked_when_it_is_read(dataset, opened):
    images = opened(dataset, min_score=0.6, min_agreement=0.5)
    pairs = [images[place] for place in range(len(images))] if hasattr(images, "__len__") else list(images)
    assert keys(pairs) == [key(number) for number in kept() if agreement(number) >= 0.5]
    for _, target in pairs:
        wanted = boxes(int(target["key"]))
        trusted = [one for one in wanted if one["score"] >= 0.6]
        assert (len(target["boxes"]), len(target["ignored"])) == (len(trusted), len(wanted) - len(trusted))
    with pytest.raises(SettingsError, match="min_score"):
        opened(dataset, min_score=-1)


@pytest.mark.parametrize("opened", [shards.open_dataset, shards.open_indexed])
def test_torchvisions_transforms_move_the_boxes(dataset, opened):
    images = opened(dataset, transform=v2.Compose([v2.RandomHorizontalFlip(1.0), v2.ToDtype(torch.float32, True)]))
    image, target = next((image, target) for image, target in images if len(target["boxes"]))
    before = boxes(int(target["key"]))[0]
    right = WIDTH_PX - before["x_px"]
    assert target["boxes"][0].tolist() == [right - before["w_px"], 6.0, right, before["y_px"] + before["h_px"]]
    assert image.dtype == torch.float32
    assert (image.numpy()[:, :, ::-1] * 255).round().astype(np.uint8).max() == 200


def test_what_is_to_be_ignored_is_painted_but_for_objects_that_lie_in_it(dataset):
    image = tv_tensors.Image(torch.arange(3 * 8 * 10, dtype=torch.uint8).reshape(3, 8, 10))
    corners = {"ignored": [[1.4, 2.0, 6.2, 7.0]], "boxes": [[4.0, 0.0, 9.0, 4.5]]}
    boxes_of = {name: torch.tensor(value) for name, value in corners.items()}
    made, target = shards.paint_ignored(image, {**boxes_of, "labels": torch.tensor([1]), "scores": torch.ones(1)})
    painted = torch.zeros(8, 10, dtype=torch.bool)
    painted[2:7, 1:7] = True
    painted[:5, 4:9] = False
    assert (made[:, painted] == round(image.float().mean().item())).all()
    assert (made[:, ~painted] == image[:, ~painted]).all()
    assert set(target) == {"boxes", "labels"} and isinstance(made, tv_tensors.Image)


def test_transforms_that_drop_boxes_take_a_painted_target(dataset):
    recipe = [shards.paint_ignored, v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(), v2.ToDtype(torch.float32, True)]
    torch.manual_seed(0)
    for _, target in shards.open_dataset(dataset, min_score=0.5, transform=v2.Compose(recipe)):
        assert len(target["boxes"]) == len(target["labels"])


def test_a_dataset_can_be_sent_to_another_process(dataset):
    for opened in (shards.open_dataset(dataset), shards.open_indexed(dataset)):
        assert keys(pickle.loads(pickle.dumps(opened))) == keys(opened)


def test_a_shard_that_was_cut_is_refused_before_training(dataset, tmp_path):
    own = Path(shutil.copytree(find(dataset), tmp_path / "copy"))
    path = next((own / "shards").glob("000002*"))
    # At a record's border webdataset would read on and say nothing.
    path.write_bytes(path.read_bytes()[:-10240])
    for opened in (shards.open_dataset, shards.open_indexed):
        with pytest.raises(StoreError, match="000002"):
            opened(own)


def test_an_image_that_was_changed_is_refused_when_it_is_read(dataset, tmp_path):
    own = Path(shutil.copytree(find(dataset), tmp_path / "copy"))
    images = shards.open_indexed(own)
    path = next((own / "shards").glob("000000*"))
    data = bytearray(path.read_bytes())
    data[data.index(encoded(1)) + 30] ^= 1
    path.write_bytes(data)
    assert images[0][1]["key"] == key(0)
    with pytest.raises(StoreError, match=r"000000001\.png was changed"):
        images[1]


def test_webdatasets_safe_mode_does_not_keep_it_from_its_files(dataset, monkeypatch):
    monkeypatch.setattr("webdataset.utils.enforce_security", True)
    assert len(keys(shards.open_dataset(dataset))) == len(kept())


def test_torch_is_loaded_only_when_a_dataset_is_opened():
    code = "import sys, irgen.shards; print('torch' in sys.modules, 'webdataset' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("path", "said"), [("nowhere", "no such folder"), (".", "no finished shards"), ("06-samples/*", "not of shards")]
)
def test_what_is_no_dataset_is_refused(path, said, dataset, tmp_path):
    where = next(iter(dataset.glob(path))) if "*" in path else tmp_path / path
    with pytest.raises(StoreError, match=said):
        shards.open_dataset(where)


def test_a_dataset_of_an_earlier_irgen_is_refused(dataset, tmp_path):
    own = Path(shutil.copytree(find(dataset), tmp_path / "copy"))
    manifest = store.read_manifest(own)
    figures = {name: value for name, value in manifest["figures"].items() if name != "labels"}
    document = {name: value for name, value in manifest.items() if name not in ("files", "content")}
    store.write_manifest(own, document | {"figures": figures}, store.listing(own))
    with pytest.raises(StoreError, match="earlier irgen"):
        shards.open_dataset(own)
