"""Whatever is changed, `verify` tells."""

import os
import shutil

import pytest

from irgen import files, shards, store
from irgen.errors import StoreError
from tests.shards.outputs import FAILED, ITEMS, add, contents, fill, opened, rewrite, seal, tars


def test_what_was_written_is_sound(pristine):
    assert shards.verify(pristine) == []


def test_every_changed_byte_is_found(output):
    store.write_cost(output, {"seconds": 1.5, "host": "somewhere"})
    for path in sorted(path for path in output.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for position in sorted({*range(0, len(data), max(1, len(data) // 8)), len(data) - 1}):
            path.write_bytes(data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :])
            assert shards.verify(output), f"{path} byte {position}"
        for changed in (data + b"\n", data[:-1], b""):
            path.write_bytes(changed)
            assert shards.verify(output), f"{path} {len(changed)} bytes"
        path.write_bytes(data)
    assert shards.verify(output) == []


@pytest.mark.parametrize("name", ["manifest.json", "run.json", "commit/000001.json"])
def test_no_byte_of_the_records_can_be_changed(output, name):
    path = output / name
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ (1 << position % 8)]) + data[position + 1 :])
        with pytest.raises(ValueError):
            files.read_sealed(path)


def test_a_tar_cut_anywhere_is_found_and_not_read(output):
    path = tars(output)[1]
    data = path.read_bytes()
    for length in range(0, len(data), 512):
        path.write_bytes(data[:length])
        assert any(path.name in line for line in shards.verify(output))
        with pytest.raises(StoreError, match=path.name):
            list(shards.read(output))


def test_a_tar_with_a_broken_header_is_not_read_as_a_short_one(output):
    path = tars(output)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"000000002.png")] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="has not the images of its table"):
        list(shards.read(output))


def test_a_changed_image_is_not_read(output):
    path = tars(output)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="was changed"):
        list(shards.read(output))
    with pytest.raises(StoreError, match="was changed"):
        shards.image(output, "000000000")


def test_a_missing_or_extra_file_is_found(output):
    for path in [path for path in output.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        path.unlink()
        assert any(path.name in line for line in shards.verify(output) + shards.unfinished(output))
        path.write_bytes(data)
    for extra in ("shards/000009-000000000000.tar", "commit/000009.json", "README.md", ".hidden"):
        (output / extra).write_bytes(b"")
        assert shards.verify(output)
        (output / extra).unlink()
    assert shards.verify(output) == []


def forge(folder, change) -> None:
    """Change the first shard's tar, and make all digests agree again."""
    path = tars(folder)[0]
    rewrite(path, change)
    record_path = folder / "commit" / "000000.json"
    record = files.read_sealed(record_path)
    record["parts"]["shards"] |= {"sha256": files.sha256_file(path), "bytes": path.stat().st_size}
    record_path.write_bytes(files.sealed(record))
    seal(folder)


def edited(suffix, data):
    return lambda members: [(name, data if name.endswith(suffix) else old) for name, old in members]


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members[:-1],
        lambda members: members[3:],
        lambda members: [*members, ("000000000.png", b"x")],
        lambda members: [*members, ("000000009.txt", b"x")],
        lambda members: [*members, ("../evil.txt", b"x")],
        lambda members: [*members, ("000000009.pkl", b"x")],
        lambda members: members[3:] + members[:3],
        lambda members: [(name.replace("0.txt", "9.txt"), data) for name, data in members],
        edited(".png", b"other"),
        edited(".json", b"{}"),
        edited(".json", b"no JSON"),
    ],
)
def test_a_forged_member_is_found_though_all_digests_agree(output, change):
    assert not store.problems(output)
    forge(output, change)
    assert not store.problems(output)
    found = shards.verify(output)
    assert any(tars(output)[0].name in line for line in found)
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members[3:],
        lambda members: [(name.replace("000000000", "000000009"), data) for name, data in members],
        lambda members: [*members, *((name.replace("000000000", "000000009"), data) for name, data in members[:3])],
    ],
)
def test_images_that_are_not_those_of_the_table_are_not_read(output, change):
    forge(output, change)
    with pytest.raises(StoreError, match=r"has not the images of its table|comes after"):
        list(shards.read(output))


def test_a_forger_who_changes_nothing_is_not_accused(output):
    forge(output, lambda members: members)
    assert shards.verify(output) == []


@pytest.mark.parametrize("change", [{"rows": 4}, {"shard": 1}, {"members": 8}, {"parts": {}}])
def test_a_forged_commit_record_is_found(output, change):
    path = output / "commit" / "000000.json"
    path.write_bytes(files.sealed(files.read_sealed(path) | change))
    seal(output)
    assert any("000000" in line for line in shards.verify(output))


def test_a_shard_in_the_place_of_another_is_found(output):
    record = files.read_sealed(output / "commit" / "000001.json")
    (output / "commit" / "000000.json").write_bytes(files.sealed(record | {"shard": 0}))
    seal(output)
    assert any("keys are not 000000000 to 000000002" in line for line in shards.verify(output))


def test_an_unfinished_output_is_read_by_its_commit_records_and_said_to_be_unfinished(tmp_path):
    add(opened(tmp_path), 1)
    assert [record.key for record in shards.read(tmp_path)] == ["000000003", "000000005"]
    assert shards.image(tmp_path, "000000005")
    assert shards.verify(tmp_path) == []
    assert shards.unfinished(tmp_path)[0].startswith(f"{tmp_path}: not finished")
    tars(tmp_path)[0].unlink()
    assert any(line.endswith("missing") for line in shards.verify(tmp_path))


def test_a_whole_data_folder_is_verified(tmp_path, pristine):
    for name in ("one", "two"):
        shutil.copytree(pristine, tmp_path / name / "06-samples" / "0123456789abcdef")
    plain = tmp_path / "one" / "01-frames" / "0123456789abcdef"
    files.write_bytes(plain / "frames.txt", b"frames")
    store.write_cost(plain, {"seconds": 1.0, "host": "somewhere"})
    seal(plain)
    assert shards.verify(tmp_path) == []
    os.truncate(plain / "frames.txt", 3)
    assert [line.startswith(str(plain / "frames.txt")) for line in shards.verify(tmp_path)] == [True]
    (plain / "manifest.json").unlink()
    assert [str(plain) in line for line in shards.unfinished(tmp_path)] == [True]


def test_a_stage_that_is_a_link_is_verified_and_one_that_leads_back_ends(tmp_path, pristine):
    big = tmp_path / "big" / "06-samples"
    shutil.copytree(pristine, big / "0123")
    dataset = tmp_path / "data" / "x"
    dataset.mkdir(parents=True)
    (dataset / "06-samples").symlink_to(big)
    (big / "00-loop").symlink_to(dataset)
    assert shards.verify(dataset) == [] and shards.outputs(dataset) == [dataset / "06-samples" / "0123"]
    tar = next((big / "0123" / "shards").iterdir())
    tar.write_bytes(tar.read_bytes()[:-1])
    assert any(tar.name in line for line in shards.verify(tmp_path / "data"))


def test_verify_wants_something_to_verify(tmp_path):
    with pytest.raises(StoreError, match="holds no output"):
        shards.verify(tmp_path)
    with pytest.raises(StoreError, match="no such folder"):
        shards.verify(tmp_path / "nowhere")


def test_a_copy_is_as_sound_as_the_original_and_verifying_changes_nothing(output):
    before = contents(output)
    assert shards.verify(output) == []
    assert contents(output) == before


def test_an_output_of_tombstones_alone_is_sound(tmp_path):
    fill(tmp_path / "out", items=FAILED + 1, per_shard=1)
    assert shards.verify(tmp_path) == []
    assert len(list(shards.read(tmp_path / "out"))) == FAILED
    assert ITEMS > FAILED
