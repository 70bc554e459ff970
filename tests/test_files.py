import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen import files

words = st.text(max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


def test_a_file_appears_whole_and_leaves_no_scratch(tmp_path):
    with files.placed(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        assert not (tmp_path / "a.bin").exists()
        temporary.write_bytes(b"whole")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_scratch_is_made_although_another_writer_removes_it_meanwhile(tmp_path, monkeypatch):
    folder, mkdir = tmp_path / "_tmp", os.mkdir
    folder.mkdir()

    def taken_then_gone(path, *mode):
        try:
            mkdir(path, *mode)
        except FileExistsError:
            folder.rmdir()
            raise

    monkeypatch.setattr(os, "mkdir", taken_then_gone)
    files.make_scratch(folder)
    assert folder.is_dir()


def test_scratch_is_made_although_another_writer_removes_the_folder_above_it(tmp_path, monkeypatch):
    folder, mkdir, removed = tmp_path / "_tmp" / "shard", os.mkdir, []

    def made_then_gone(path, *mode):
        mkdir(path, *mode)
        if not removed:
            removed.append(path)
            Path(path).rmdir()

    monkeypatch.setattr(os, "mkdir", made_then_gone)
    files.make_scratch(folder)
    assert folder.is_dir() and removed == [folder.parent]


def test_a_file_in_the_place_of_scratch_is_an_error(tmp_path):
    (tmp_path / "_tmp").write_bytes(b"")
    with pytest.raises(FileExistsError):
        files.make_scratch(tmp_path / "_tmp")


def test_an_exception_leaves_what_was_there(tmp_path):
    files.write_bytes(tmp_path / "a.bin", b"old")
    with pytest.raises(RuntimeError), files.placed(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"new")
        raise RuntimeError
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_data_are_on_disk_before_the_name_is_and_the_name_before_anything_follows(tmp_path, monkeypatch):
    done = []
    fsync, replace = files.fsync, os.replace
    monkeypatch.setattr(files, "fsync", lambda path: (done.append(("fsync", Path(path).name)), fsync(path)))
    monkeypatch.setattr(os, "replace", lambda one, two: (done.append(("rename", Path(two).name)), replace(one, two)))
    files.write_bytes(tmp_path / "a.bin", b"x")
    assert done[0][0] == "fsync" and done[0][1].startswith("a.bin.")
    assert done[1:] == [("rename", "a.bin"), ("fsync", tmp_path.name)]


def test_of_many_writers_in_one_folder_none_disturbs_another(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: files.write_bytes(tmp_path / "deep" / f"{n % 40}", b"%d" % (n % 40)), range(800)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "deep").iterdir()} == {
        str(n): b"%d" % n for n in range(40)
    }


def test_the_first_of_two_publishers_wins(tmp_path):
    for name, wins in (("one", True), ("two", False)):
        temporary = tmp_path / f"{name}.tmp"
        temporary.write_text(name)
        assert files.publish_first(temporary, tmp_path / "record") is wins
        assert not temporary.exists()
    assert (tmp_path / "record").read_text() == "one"


def test_a_full_disk_is_passed_on_and_nothing_is_left(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_bytes(tmp_path / "a.bin", b"x")
    assert list(tmp_path.iterdir()) == []


@given(st.dictionaries(words, json_values, max_size=6))
def test_json_bytes_depend_on_the_content_alone(document):
    shuffled = dict(reversed(document.items()))
    assert files.json_bytes(document) == files.json_bytes(shuffled)
    assert json.loads(files.json_bytes(document)) == document
    assert files.canonical_json(document) == files.canonical_json(shuffled)


@pytest.mark.parametrize("encode", [files.json_bytes, files.canonical_json])
def test_nan_is_refused(encode):
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": float("nan")})


@given(st.dictionaries(words.filter(lambda name: name != "digest"), json_values, max_size=6), st.data())
def test_a_sealed_document_is_read_back_and_no_byte_of_it_can_change(tmp_path_factory, document, data):
    path = tmp_path_factory.getbasetemp() / "sealed.json"
    sealed = files.sealed(document)
    path.write_bytes(sealed)
    assert files.read_sealed(path) == document
    position = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != sealed[position]))
    path.write_bytes(sealed[:position] + bytes([other]) + sealed[position + 1 :])
    with pytest.raises(ValueError):
        files.read_sealed(path)


@pytest.mark.parametrize("damaged", [b"", b"[]", b"{}", b'"digest"', b"\xff", b'{"a": NaN}', b'{"a": "\\ud800"}'])
def test_what_was_never_sealed_is_refused(tmp_path, damaged):
    (tmp_path / "a.json").write_bytes(damaged)
    with pytest.raises(ValueError):
        files.read_sealed(tmp_path / "a.json")
