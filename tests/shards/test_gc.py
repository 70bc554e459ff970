import os

import pytest

from irgen import files, shards, store
from irgen.errors import StoreError
from tests.shards.outputs import add, contents, fill, opened

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"


def test_orphans_go_and_nothing_that_is_committed(output):
    before = contents(output)
    strays = [
        output / "shards" / "000001-aaaaaaaaaaaa.tar",
        output / "notes" / "000001-aaaaaaaaaaaa.parquet",
        output / "_tmp" / "000002.tar.1.x" / "members.tar",
    ]
    for stray in strays:
        files.write_bytes(stray, b"orphan")
    listed = shards.gc(output, dry_run=True)
    assert sorted(listed) == sorted([*strays[:2], output / "_tmp"])
    assert all(path.exists() for path in listed)
    assert shards.gc(output) == listed
    assert contents(output) == before
    assert shards.gc(output) == []


def test_committed_shards_of_an_unfinished_output_stay(tmp_path):
    half, none = tmp_path / "06-samples" / FIRST, tmp_path / "06-samples" / SECOND
    add(opened(half), 0)
    files.write_bytes(half / "shards" / "000003-aaaaaaaaaaaa.tar", b"orphan")
    before = contents(half)
    opened(none)
    shards.gc(tmp_path)
    assert set(before) - set(contents(half)) == {"shards/000003-aaaaaaaaaaaa.tar"}
    assert opened(half).missing() == [1, 2, 3]
    assert not none.exists()


def test_scratch_of_the_dataset_itself_costs_nothing_else(tmp_path):
    data = tmp_path / "data"
    folder = data / "tiny" / "06-samples" / FIRST
    fill(folder)
    before = contents(folder)
    for torn in (data / "tiny" / "_tmp" / "summary.json.1.a", data / "other" / "_tmp" / "x"):
        torn.parent.mkdir(parents=True)
        torn.write_bytes(b"{")
    assert shards.gc(data) == [data / "tiny" / "_tmp"]
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["manifest.json", "run.json", "06-samples/notes.txt"])
def test_what_is_not_irgens_stays(tmp_path, name):
    for each in (name, "_tmp/scratch", "deep/photo.jpg", "deep/_tmp/scratch"):
        files.write_bytes(tmp_path / each, b"{}")
    before = contents(tmp_path)
    assert shards.gc(tmp_path) == []
    assert contents(tmp_path) == before


def test_checkpoints_of_an_interrupted_stage_stay_until_another_output_of_it_is_finished(tmp_path):
    interrupted, finished = tmp_path / "04-adapter" / FIRST, tmp_path / "04-adapter" / SECOND
    checkpoint = interrupted / "_tmp" / "checkpoint" / "250.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    store.lock_path(interrupted).touch()
    os.utime(checkpoint, (1000, 1000))
    assert shards.gc(tmp_path) == [] and checkpoint.exists()
    finished.mkdir()
    store.write_manifest(finished, {"stage": "adapter"}, [])
    assert shards.gc(tmp_path) == [interrupted, store.lock_path(interrupted)]
    assert [path.name for path in (tmp_path / "04-adapter").iterdir()] == [SECOND]


def test_an_empty_beginning_and_its_lock_go(tmp_path):
    folder = tmp_path / "05-verifier" / FIRST
    with store.exclusive(folder):
        pass
    assert shards.gc(tmp_path) == [folder, store.lock_path(folder)]
    assert list((tmp_path / "05-verifier").iterdir()) == []


def test_nothing_goes_while_a_run_is_at_work(tmp_path):
    busy, idle = tmp_path / "04-adapter" / FIRST, tmp_path / "05-verifier" / FIRST
    with store.exclusive(idle):
        pass
    with store.exclusive(busy), pytest.raises(StoreError, match="a run is at work there"):
        shards.gc(tmp_path)
    assert idle.exists() and busy.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        shards.gc(tmp_path / "nowhere")
