"""A part of `make faults` that fits into every change's tests; figures of the whole are in docs/reliability.md."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from irgen import files, shards
from tests.faults import damage, fuzz, inject, power, small, soak

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("scenario", small.SCENARIOS, ids=lambda scenario: scenario.name)
def test_whatever_operation_fails_or_is_the_last_the_end_is_the_same(scratch, scenario):
    tally = inject.Tally()
    inject.try_all(scenario, inject.faults(scenario, scratch / "counted", every=13), scratch / "tried", tally)
    assert tally.failed == []
    assert {what for _, what in tally.tried} == set(inject.FAULTS)


def test_no_file_operation_goes_past_the_one_module(scratch):
    scratch.mkdir()
    assert inject.in_child(lambda: _unwatched(scratch)) == 0


def _unwatched(root: Path) -> int:
    """Count operations that the interpreter sees below a folder and no watcher is told of."""
    is_watched = False
    missed = []

    def watch(moment: files.Moment, operation: files.Operation) -> None:
        nonlocal is_watched
        is_watched = moment == "before"

    def hook(event: str, arguments: tuple) -> None:
        changing = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.symlink"}
        writes = event in changing or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3)
        if writes and str(root) in str(arguments[0]) and not is_watched:
            missed.append((event, arguments[0]))

    with files.watched(watch):
        # An audit hook cannot be taken away again: hence the child.
        sys.addaudithook(hook)
        small.build(root)
        shards.gc(root)
    for each in missed:
        print(each, file=sys.stderr)
    return len(missed)


def test_a_file_is_on_disk_before_a_record_speaks_of_it(scratch):
    scratch.mkdir()
    assert list(power.unflushed(scratch, small.build)) == []


def test_an_fsync_that_is_left_out_is_noticed(scratch, monkeypatch):
    scratch.mkdir()
    flush = files.fsync
    monkeypatch.setattr(files, "fsync", lambda path: None if path.suffix == ".tar" else flush(path))
    monkeypatch.setattr(files, "settle", lambda folder: None)
    assert any(".tar, which would not last" in line for line in power.unflushed(scratch, small.build))


def test_after_a_loss_of_power_a_run_carries_on_to_the_same_bytes(scratch):
    (scratch / "disks").mkdir(parents=True)
    (scratch / "root").mkdir()
    small.build(scratch / "undisturbed")
    expected = small.contents(scratch / "undisturbed")
    for disk in power.images(scratch / "root", small.build, scratch / "disks", every=11):
        small.build(disk)
        assert small.contents(disk) == expected, disk.name


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_killed_at_random_moments_each_key_is_there_once(scratch, workers):
    soaked = soak.soak(scratch, workers, kills=5)
    assert soaked.kills >= 5
    assert soaked.wrong == []


def test_writing_many_shards_leaks_neither_memory_nor_handles(scratch):
    growth_percent, handles = soak.growth(scratch, shards=120)
    assert growth_percent < 1
    assert handles <= 0  # what earlier tests left may be collected meanwhile


def test_a_killed_writer_leaves_a_lock_that_nobody_holds(scratch):
    child = inject.start_child(lambda: soak.fill(scratch, items=4000))
    while not list(scratch.glob("commit/*.json")):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    started = time.monotonic()
    shards.gc(scratch)
    assert time.monotonic() - started < 10
    assert shards.verify(scratch) == []


def test_a_tar_cut_at_any_record_is_found(scratch):
    tried, found = damage.cuts(scratch)
    assert tried == found >= 20


def test_a_flipped_bit_is_found(scratch):
    tried, found = damage.flips(scratch, 100)
    assert tried == found


def test_of_100_truncated_jpegs_100_are_rejects_and_no_whole_one(scratch):
    cut, reasons = damage.truncated(scratch, 100)
    assert reasons.total() == cut
    assert set(reasons) <= {"truncated_image", "unreadable_image", "empty_image"}


PARSERS = (
    "Caltech text",
    "VOC XML",
    "annotations in a .tar.gz",
    "annotations in a .tar",
    "COCO JSON (HIT-UAV)",
    "images",
    "lists of frames",
    "dataset manifest (YAML)",
    "rewards (npz)",
    "weights (safetensors)",
    "output manifest",
    "run.json",
    "commit record",
    "shard (tar)",
    "table (Parquet)",
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", PARSERS)
def test_bent_bytes_are_an_answer_or_a_named_error(scratch, name):
    found = {parser.name: parser for parser in fuzz.parsers(scratch / "sound")}
    assert tuple(found) == PARSERS
    assert fuzz.attack(found[name], scratch / "bent", 60) >= 60
