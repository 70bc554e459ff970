import functools
import hashlib
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from irgen import digests, files


@pytest.fixture
def tree(tmp_path):
    for name, data in (("a.jpg", b"a"), ("deep/b.jpg", b"b"), ("deep/c.txt", b"c"), (".hidden/d", b"d"), (".e", b"e")):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "tree"


def test_equal_trees_have_equal_digests_wherever_they_lie(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "far" / "copy")
    assert digests.digest(copy) == digests.digest(tree)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "deep" / "b.jpg").write_bytes(b"BB"),
        lambda tree: (tree / "deep" / "b.jpg").rename(tree / "deep" / "bb.jpg"),
        lambda tree: (tree / "deep" / "b.jpg").unlink(),
        lambda tree: (tree / "new").write_bytes(b""),
    ],
)
def test_a_changed_tree_has_another_digest(tree, change):
    before = digests.digest(tree)
    change(tree)
    assert digests.digest(tree) != before


def test_a_digest_is_of_names_and_contents_alone(tree, monkeypatch):
    lines = [
        f"{name}\0{hashlib.sha256(name[-5:-4].encode()).hexdigest()}\n"
        for name in ("a.jpg", "deep/b.jpg", "deep/c.txt")
    ]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    for _ in range(2):
        assert digests.digest(tree) == expected
    monkeypatch.chdir(tree)
    assert digests.digest(Path()) == expected
    monkeypatch.chdir(tree.parent)
    assert digests.digest(Path("tree")) == expected


def test_only_what_lies_in_the_folder_is_digested(tree, tmp_path):
    (tmp_path / "other").touch()
    with pytest.raises(ValueError, match="is not in the subpath"):
        digests.digest(tree, [tmp_path / "other"])


def test_a_link_stands_for_what_it_leads_to(tree, tmp_path):
    (tmp_path / "one").write_bytes(b"a")
    (tmp_path / "two").write_bytes(b"2")
    os.utime(tmp_path / "two", ns=(0, (tmp_path / "one").stat().st_mtime_ns))
    before = digests.digest(tree)
    (tree / "a.jpg").unlink()
    (tree / "a.jpg").symlink_to(tmp_path / "one")
    assert digests.digest(tree) == before
    (tree / "a.jpg").unlink()
    (tree / "a.jpg").symlink_to(tmp_path / "two")
    assert digests.digest(tree) != before


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path), lambda path: path.symlink_to("none")])
def test_what_is_no_file_has_no_contents(tree, make):
    (tree / "a.jpg").unlink()
    before = digests.digest(tree, [tree / "a.jpg"])
    make(tree / "a.jpg")
    assert digests.digest(tree, [tree / "a.jpg"]) == before


def test_names_of_any_bytes_are_remembered(tree, monkeypatch):
    (tree / os.fsdecode(b"\xff%_'.jpg")).write_bytes(b"x")
    before = digests.digest(tree)
    monkeypatch.setattr(files, "sha256_file", lambda path: pytest.fail(f"{path} hashed again"))
    assert digests.digest(tree) == before


def test_folders_whose_names_begin_alike_are_kept_apart(tmp_path):
    for folder, data in (("a", b"1"), ("a0", b"2"), ("a/b", b"3"), ("a b", b"4")):
        path = tmp_path / "root" / folder / "x"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(0, 0))
    found = {folder: digests.digest(tmp_path / "root" / folder / "x") for folder in ("a", "a0", "a/b", "a b")}
    assert len(set(found.values())) == 4
    assert {folder: digests.digest(tmp_path / "root" / folder / "x") for folder in found} == found


def test_a_linked_folder_belongs_to_the_tree_and_one_that_leads_back_ends(tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.safetensors").write_bytes(b"weights")
    (tree / "transformer").symlink_to(elsewhere)
    (tree / "deep" / "loop").symlink_to(tree)
    before = digests.digest(tree)
    (elsewhere / "model.safetensors").write_bytes(b"others")
    assert digests.digest(tree) != before


def test_others_can_remember_while_one_hashes(tree, monkeypatch):
    real, others = files.sha256_file, []

    def slow(path: Path) -> str:
        if path.name == "b.jpg" and not others:
            others.append(None)
            others[0] = digests.digest(tree / "a.jpg")
        return real(path)

    monkeypatch.setattr(digests.sqlite3, "connect", functools.partial(sqlite3.connect, timeout=0.1))
    monkeypatch.setattr(files, "sha256_file", slow)
    assert digests.digest(tree) and others[0]


def test_hidden_files_do_not_count(tree):
    before = digests.digest(tree)
    shutil.rmtree(tree / ".hidden")
    (tree / ".e").unlink()
    assert digests.digest(tree) == before


def test_only_the_named_files_count_where_some_are_named(tree):
    before = digests.digest(tree, [tree / "a.jpg"])
    (tree / "deep" / "b.jpg").write_bytes(b"B")
    assert digests.digest(tree, [tree / "a.jpg"]) == before != digests.digest(tree)


def test_a_single_file_has_a_digest(tree):
    assert digests.digest(tree / "a.jpg") == digests.digest(tree, [tree / "a.jpg"])


def test_a_file_is_hashed_once(tree, monkeypatch):
    before = digests.digest(tree)
    monkeypatch.setattr(files, "sha256_file", lambda path: pytest.fail(f"{path} hashed again"))
    assert digests.digest(tree) == before


def test_a_file_rewritten_in_the_same_length_is_hashed_again(tree):
    before = digests.digest(tree)
    path = tree / "a.jpg"
    seen = path.stat().st_mtime_ns
    path.write_bytes(b"x")
    os.utime(path, ns=(seen + 1, seen + 1))
    assert digests.digest(tree) != before


def test_many_may_ask_at_once(tree):
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: digests.digest(tree), range(8)))) == 1
