import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from irgen import files, shards, store
from irgen.errors import StoreError
from irgen.shards import Sample, ShardedOutput

COLUMNS = pa.schema([("score", pa.float64()), ("seed", pa.string())])
NOTES = pa.schema([("key", pa.string()), ("note", pa.string())])
ITEMS, PER_SHARD = 11, 3
FAILED = 4


def png(index: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), index, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def sample(index: int) -> Sample:
    row = {"score": index / 4, "seed": str(2**100 + index)}
    notes = {"notes": [{"key": f"{index:09d}", "note": "n"}]}
    if index == FAILED:
        return Sample(index, b"", "png", {}, "", row, notes, "all candidates dead")
    # The first five scores are whole numbers in some samples: readers that infer a schema must still see floats.
    sheet = {"score": float(index // 2) if index < 5 else index + 0.5, "seed": row["seed"], "noise": {"perturbations": []}}
    return Sample(index, png(index), "png", sheet, f"caption {index}", row, notes)


def opened(folder: Path, **changes) -> ShardedOutput:
    arguments = {"run": {"of": "test"}, "items": ITEMS, "per_shard": PER_SHARD, "columns": COLUMNS}
    return ShardedOutput.open(folder, **(arguments | {"tables": {"notes": NOTES}} | changes))


def fill(folder: Path, pause_s: float = 0.0) -> None:
    output = opened(folder)
    for number in output.missing():
        with output.shard(number) as shard:
            for index in output.items(number):
                time.sleep(pause_s)
                shard.add(sample(index))
    output.finish()
    store.write_manifest(folder, {"stage": "samples", "figures": {}}, store.listing(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def output(tmp_path) -> Path:
    fill(tmp_path / "out")
    return tmp_path / "out"


def tars(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.tar"))


def test_every_item_is_read_back_as_it_was_written(output):
    records = list(shards.read(output))
    assert [record.key for record in records] == [f"{n:09d}" for n in range(ITEMS) if n != FAILED]
    for record in records:
        expected = sample(int(record.key))
        assert (record.image, record.sheet, record.caption) == (expected.image, expected.sheet, expected.caption)
        assert shards.image(output, record.key) == expected.image


def test_tables_have_a_row_an_item_and_a_tombstone_says_why(output):
    table = shards.table(output)
    assert len(table) == ITEMS and list(table["score"]) == [n / 4 for n in range(ITEMS)]
    assert list(table.loc[table["status"] == "failed", "reason"]) == ["all candidates dead"]
    assert len(shards.table(output, "notes")) == ITEMS


def test_equal_work_is_equal_bytes(output, tmp_path):
    fill(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(output)


@given(st.integers(1, 200), st.integers(1, 50))
def test_shards_cover_every_item_once(items, per_shard):
    output = ShardedOutput(Path(), items, per_shard, {})
    assert [index for number in range(output.count) for index in output.items(number)] == list(range(items))


def test_an_exception_leaves_nothing_of_the_shard_and_the_next_run_carries_on(output, tmp_path):
    folder = tmp_path / "broken"
    broken = opened(folder)
    with broken.shard(0) as shard:
        for index in broken.items(0):
            shard.add(sample(index))
    with pytest.raises(RuntimeError), broken.shard(1) as shard:
        shard.add(sample(3))
        raise RuntimeError("power")
    assert opened(folder).missing() == [1, 2, 3]
    assert len(tars(folder)) == 1 and not list((folder / "_tmp").iterdir())
    fill(folder)
    assert contents(folder) == contents(output)


@pytest.mark.parametrize("bad", [[0, 2], [1], [0, 1], [0, 1, 2, 3]])
def test_a_shard_with_wrong_items_is_not_committed(tmp_path, bad):
    output = opened(tmp_path)
    with pytest.raises(ValueError, match="item"), output.shard(0) as shard:
        for index in bad:
            shard.add(sample(index))
    assert 0 in output.missing() and not tars(tmp_path)


def test_a_folder_of_another_run_is_refused_with_the_difference(output):
    with pytest.raises(StoreError, match="items_per_shard: 3 there, 5 now"):
        opened(output, per_shard=5)


def test_a_shard_written_twice_is_there_once(output, tmp_path):
    folder = tmp_path / "raced"
    one, other = opened(folder), opened(folder)
    for index in one.items(0):
        assert index == other.items(0)[index]
    with one.shard(0) as first, other.shard(0) as second:
        for index in one.items(0):
            first.add(sample(index))
            second.add(sample(index))
    fill(folder)
    assert contents(folder) == contents(output)


def test_killed_at_random_moments_the_bytes_are_those_of_an_undisturbed_run(output, tmp_path):
    folder = tmp_path / "killed"
    code = f"from pathlib import Path; from tests.shards.test_output import fill; fill(Path({str(folder)!r}), 0.03)"
    for lives_s in (0.3, 0.35, 0.4, 0.45):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
        while not (folder / "run.json").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(lives_s - 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    fill(folder)
    assert contents(folder) == contents(output)
    assert shards.verify(folder) == []


def test_what_was_written_verifies(output):
    assert shards.verify(output) == []


def test_every_changed_byte_is_found(output):
    for path in sorted(output.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        for position in sorted({*range(0, len(data), max(1, len(data) // 20)), len(data) - 1}):
            path.write_bytes(data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :])
            assert shards.verify(output), f"{path} byte {position}"
        path.write_bytes(data + b"\n")
        assert shards.verify(output), f"{path} one byte longer"
        path.write_bytes(data)
    assert shards.verify(output) == []


def test_a_tar_cut_anywhere_is_found(output):
    path = tars(output)[1]
    data = path.read_bytes()
    for length in range(0, len(data), 512):
        path.write_bytes(data[:length])
        assert any(path.name in line for line in shards.verify(output))


def test_a_missing_or_extra_file_is_found(output):
    for path in [path for path in output.rglob("*") if path.is_file() and path.name != "manifest.json"]:
        data = path.read_bytes()
        path.unlink()
        assert any(path.name in line for line in shards.verify(output))
        path.write_bytes(data)
    (output / "shards" / "000009-000000000000.tar").write_bytes(b"")
    assert shards.verify(output)


def reseal(folder: Path) -> None:
    """Make the manifest agree with the files, as a thorough forger or a buggy tool would."""
    store.write_manifest(folder, {"stage": "samples", "figures": {}}, store.listing(folder))


def rewrite(path: Path, change) -> None:
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members[:-1],
        lambda members: members[3:],
        lambda members: [*members, ("000000000.png", b"x")],
        lambda members: [*members, ("../evil.txt", b"x")],
        lambda members: members[3:] + members[:3],
        lambda members: [(name, b"other" if name.endswith(".png") else data) for name, data in members],
    ],
    ids=["member missing", "record missing", "duplicate", "outside", "reordered", "image changed"],
)
def test_changed_members_are_found_even_when_all_digests_were_made_to_agree(output, change):
    path = tars(output)[0]
    rewrite(path, change)
    record_path = output / "commit" / "000000.json"
    record = json.loads(record_path.read_bytes())
    record["parts"]["shards"] |= {"sha256": files.sha256_file(path), "bytes": path.stat().st_size}
    files.write_json(record_path, record)
    reseal(output)
    assert any(path.name in line for line in shards.verify(output))


def test_an_unfinished_output_is_read_by_its_commit_records_and_said_to_be_unfinished(tmp_path):
    output = opened(tmp_path)
    with output.shard(1) as shard:
        for index in output.items(1):
            shard.add(sample(index))
    assert [record.key for record in shards.read(tmp_path)] == ["000000003", "000000005"]
    assert shards.verify(tmp_path) == [f"{tmp_path}: not finished (no manifest.json); its stage carries on when run again"]


def test_verify_wants_something_to_verify(tmp_path):
    with pytest.raises(StoreError, match="holds no output"):
        shards.verify(tmp_path)
    with pytest.raises(StoreError, match="no such folder"):
        shards.verify(tmp_path / "nowhere")


def test_gc_removes_orphans_and_nothing_that_is_committed(output):
    before = contents(output)
    (output / "shards" / "000001-aaaaaaaaaaaa.tar").write_bytes(b"orphan")
    (output / "_tmp").mkdir()
    (output / "_tmp" / "000002.tar.1.x").write_bytes(b"half")
    listed = shards.gc(output, dry_run=True)
    assert len(listed) == 2 and all(path.exists() for path in listed)
    assert shards.gc(output) == listed
    assert contents(output) == before
    assert shards.gc(output) == []


def test_gc_keeps_committed_shards_of_an_unfinished_output_and_removes_empty_beginnings(tmp_path):
    output = opened(tmp_path / "06" / "half")
    with output.shard(0) as shard:
        for index in output.items(0):
            shard.add(sample(index))
    opened(tmp_path / "06" / "none")
    shards.gc(tmp_path)
    assert opened(tmp_path / "06" / "half").missing() == [1, 2, 3]
    assert not (tmp_path / "06" / "none").exists()


def test_gc_refuses_while_a_run_is_at_work(output):
    with store.exclusive(output), pytest.raises(StoreError, match="at work"):
        shards.gc(output)


def test_a_full_disk_leaves_nothing_under_a_final_name(output, tmp_path, monkeypatch):
    folder = tmp_path / "full"
    calls = 0
    fsync = files.fsync

    def full(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == allowed:
            raise OSError(28, "No space left on device")
        fsync(path)

    for allowed in range(1, 60):
        calls = 0
        monkeypatch.setattr(files, "fsync", full)
        try:
            fill(folder)
        except OSError:
            named = {part["path"] for record in map(json.loads, map(Path.read_bytes, (folder / "commit").glob("*"))) for part in record["parts"].values()}
            assert all((folder / name).exists() for name in named)
            assert not (folder / "manifest.json").exists()
        monkeypatch.undo()
    fill(folder)
    assert contents(folder) == contents(output)
