"""Manifests: what they vouch for, and what they notice."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen import files, store
from irgen.errors import StoreError
from tests.shards import outputs

DOCUMENT = {"stage": "frames", "fingerprint": "0" * 16, "figures": {"frames": 3, "share": 0.5}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "01-frames" / ("0" * 16)
    files.write_bytes(out / "frames.parquet", b"frames")
    files.write_bytes(out / "images" / "a.png", b"image")
    store.write_manifest(out, DOCUMENT, store.listing(out))
    return out


def test_a_finished_output_is_sound_and_referred_to_by_its_content(folder):
    assert store.problems(folder) == []
    ref = store.ref(folder)
    assert (ref.stage, ref.folder) == ("frames", folder)
    assert ref.content == store.content_of(store.listing(folder))


def test_equal_work_gives_an_equal_manifest_wherever_and_whenever(folder, tmp_path):
    other = tmp_path / "elsewhere"
    files.write_bytes(other / "images" / "a.png", b"image")
    files.write_bytes(other / "frames.parquet", b"frames")
    store.write_cost(other, {"seconds": 7.0, "host": "another"})
    files.write_bytes(other / "_tmp" / "checkpoint", b"scratch")
    store.write_manifest(other, DOCUMENT, store.listing(other))
    assert (other / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    assert store.problems(other) == []


def test_every_byte_of_the_manifest_counts(folder):
    path = folder / "manifest.json"
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ (1 << position % 8)]) + data[position + 1 :])
        with pytest.raises(StoreError, match=r"manifest\.json"):
            store.read_manifest(folder)
    for changed in (data + b"\n", data[:-1], b"", json.dumps(json.loads(data)).encode()):
        path.write_bytes(changed)
        assert len(store.problems(folder)) == 1


def test_a_manifest_whose_listing_was_exchanged_is_refused(folder):
    manifest = store.read_manifest(folder)
    (folder / "manifest.json").write_bytes(files.sealed(manifest | {"files": []}))
    with pytest.raises(StoreError, match="content digest"):
        store.read_manifest(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda out: (out / "images" / "a.png").unlink(), "a.png: missing"),
        (lambda out: (out / "images" / "a.png").write_bytes(b"imag"), "a.png: 4 bytes, the manifest says 5"),
        (lambda out: (out / "images" / "a.png").write_bytes(b"Image"), "a.png: contents changed"),
        (lambda out: (out / "images" / "b.png").write_bytes(b""), "b.png: not in the manifest"),
        (lambda out: (out / ".hidden").write_bytes(b""), ".hidden: not in the manifest"),
        (lambda out: (out / "link").symlink_to("nowhere"), "link: not in the manifest"),
        (lambda out: (out / "manifest.json").unlink(), "not a finished output"),
    ],
)
def test_what_was_changed_is_named_in_one_line(folder, change, told):
    change(folder)
    assert [told in line for line in store.problems(folder)] == [True]


def age(folder, seconds: float) -> None:
    """Make all files older than the manifest by so much."""
    written_ns = (folder / "manifest.json").stat().st_mtime_ns
    for path in folder.rglob("*.p*"):
        os.utime(path, ns=(0, written_ns - int(seconds * 1e9)))


def unread(path):
    pytest.fail(f"{path} was read")


def test_files_older_than_the_manifest_need_not_be_read(folder):
    age(folder, 1)
    assert store.examine(folder, sha256=unread, trust_mtime=True) == (store.ref(folder), [])
    assert store.latest(folder.parent, trust_mtime=True).folder == folder


@pytest.mark.parametrize("seconds", [0, -5])
def test_files_not_older_than_the_manifest_are_read_all_the_same(folder, seconds):
    path = folder / "images" / "a.png"
    path.write_bytes(b"Image")
    age(folder, seconds)
    assert store.examine(folder, trust_mtime=True) == (None, [f"{path}: contents changed (sha256 differs)"])


def test_what_no_size_and_no_time_betray_is_found_by_reading(folder):
    (folder / "images" / "a.png").write_bytes(b"Image")
    age(folder, 1)
    assert store.examine(folder, trust_mtime=True)[1] == []
    assert len(store.problems(folder)) == 1 and store.latest(folder.parent) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda out: (out / "images" / "a.png").unlink(),
        lambda out: (out / "images" / "a.png").write_bytes(b"imag"),
        lambda out: (out / "images" / "b.png").write_bytes(b""),
    ],
)
def test_missing_short_and_stray_files_are_seen_without_reading(folder, change):
    change(folder)
    age(folder, 1)
    assert len(store.examine(folder, sha256=unread, trust_mtime=True)[1]) == 1


def test_a_cost_that_is_damaged_says_nothing(folder):
    assert store.read_cost(folder) == {}
    for data in (b"", b"[]", b'{"seconds": "x"}', b"{}"):
        (folder / "cost.json").write_bytes(data)
        assert store.read_cost(folder) == {} and store.seconds(folder) == 0.0


def test_scratch_and_cost_are_no_part_of_an_output(folder):
    files.write_bytes(folder / "_tmp" / "x", b"x")
    store.write_cost(folder, {"seconds": 2.5, "host": "here"})
    assert store.problems(folder) == []
    assert store.seconds(folder) == 2.5


def test_unfinished_or_damaged_outputs_cannot_be_referred_to(tmp_path):
    with pytest.raises(StoreError, match="not a finished output"):
        store.ref(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(StoreError, match="damaged"):
        store.ref(tmp_path)


def test_the_latest_sound_output_is_found(folder):
    stage = folder.parent
    for name, body in (("1" * 16, b"good"), ("2" * 16, b"bad")):
        files.write_bytes(stage / name / "x", body)
        store.write_manifest(stage / name, DOCUMENT, store.listing(stage / name))
    (stage / ("2" * 16) / "x").write_bytes(b"worse")
    assert store.latest(stage).folder == stage / ("1" * 16)
    assert store.latest(stage.parent / "none") is None


settings = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=4)


@given(settings, settings)
def test_fingerprints_depend_on_content_not_on_order(one, other):
    def name(document):
        return store.fingerprint("samples", 1, document, {"captions": "c"})

    assert name(one) == name(dict(reversed(one.items())))
    assert (name(one) == name(other)) == (files.canonical_json(one) == files.canonical_json(other))


def test_fingerprints_depend_on_stage_version_settings_and_inputs():
    names = {
        store.fingerprint(*identity)
        for identity in [
            ("samples", 1, {"a": 1}, {"captions": "c"}),
            ("shards", 1, {"a": 1}, {"captions": "c"}),
            ("samples", 2, {"a": 1}, {"captions": "c"}),
            ("samples", 1, {"a": 2}, {"captions": "c"}),
            ("samples", 1, {"a": 1}, {"captions": "d"}),
        ]
    }
    assert len(names) == 5 and all(len(name) == store.FINGERPRINT_DIGITS for name in names)


def test_salvage_keeps_what_the_manifest_vouches_for(folder):
    (folder / "images" / "a.png").write_bytes(b"Image")
    files.write_bytes(folder / "stray", b"")
    assert store.salvage(folder, "0" * 16)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["frames.parquet"]


def test_salvage_leaves_other_work_and_damaged_manifests_alone(folder):
    (folder / "images" / "a.png").write_bytes(b"Image")
    assert not store.salvage(folder, "1" * 16)
    (folder / "manifest.json").write_bytes(b"{}")
    assert not store.salvage(folder, "0" * 16)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3


def test_shards_under_a_damaged_manifest_are_kept_for_their_records_vouch_for_them(tmp_path):
    folder = tmp_path / ("0" * 16)
    outputs.fill(folder)
    shards = {name: data for name, data in outputs.contents(folder).items() if name != "manifest.json"}
    (folder / "manifest.json").write_bytes(b"{}")
    assert not store.salvage(folder, "1" * 16)
    assert store.salvage(folder, "0" * 16)
    assert outputs.contents(folder) == shards
    assert outputs.opened(folder).missing() == []


def test_two_runs_of_the_same_work_take_turns(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    order = []

    def second() -> None:
        with store.exclusive(tmp_path / "out"):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.exclusive(tmp_path / "out") as out:
        thread.start()
        while "waiting for the run that is at work there" not in caplog.text:
            thread.join(0.05)
            assert thread.is_alive()
        order.append("first")
        assert (out / "_tmp").is_dir()
    thread.join()
    assert order == ["first", "second"]


def test_a_dead_run_holds_no_lock(tmp_path, repository):
    code = (
        "import os, sys, pathlib; from irgen import store\n"
        "with store.exclusive(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], cwd=repository)
    assert done.returncode == -9
    with store.idle(tmp_path / "out"), store.exclusive(tmp_path / "another"):
        pass


def test_an_output_at_work_is_not_idle(tmp_path):
    with (
        store.exclusive(tmp_path / "out"),
        pytest.raises(StoreError, match="a run is at work there"),
        store.idle(tmp_path / "out"),
    ):
        pass
