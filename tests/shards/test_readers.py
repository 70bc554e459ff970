"""The shards as other people's readers see them."""

import os
import tarfile

from tests.shards.outputs import FAILED, ITEMS, sample, tars

KEYS = [f"{n:09d}" for n in range(ITEMS) if n != FAILED]


def test_tarfile_reads_plain_members_of_no_owner_and_no_time(pristine):
    names = []
    for path in tars(pristine):
        with tarfile.open(path) as tar:
            for info in tar:
                assert info.isreg() and info.mtime == 0 and info.uid == info.gid == 0 and not info.uname
                names.append(info.name)
    assert names == [f"{key}.{suffix}" for key in KEYS for suffix in ("png", "json", "txt")]


def test_webdataset_reads_every_sample_once(pristine, monkeypatch):
    monkeypatch.setitem(os.environ, "WDS_SECURE", "1")
    import webdataset as wds

    dataset = wds.WebDataset([str(path) for path in tars(pristine)], shardshuffle=False).decode("rgb8")
    read = list(dataset)
    assert [one["__key__"] for one in read] == KEYS
    for one in read:
        index = int(one["__key__"])
        assert (one["png"] == index).all() and one["json"] == sample(index).sheet and one["txt"] == f"caption {index}"


def test_hugging_face_datasets_reads_every_sample_with_one_schema(pristine, tmp_path):
    import datasets

    rows = datasets.load_dataset(
        "webdataset", data_files=[str(path) for path in tars(pristine)], split="train", cache_dir=str(tmp_path)
    )
    assert rows["__key__"][:] == KEYS
    for row in rows:
        index = int(row["__key__"])
        assert row["json"]["score"] == sample(index).sheet["score"] and row["txt"] == f"caption {index}"
        assert row["png"].size == (5, 4) and row["png"].getpixel((0, 0)) == (index,) * 3
