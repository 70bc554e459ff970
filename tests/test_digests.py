import os
import shutil
from concurrent.futures import ThreadPoolExecutor

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
        lambda tree: (tree / "deep" / "b.jpg").write_bytes(b"B"),
        lambda tree: (tree / "deep" / "b.jpg").rename(tree / "deep" / "bb.jpg"),
        lambda tree: (tree / "deep" / "b.jpg").unlink(),
        lambda tree: (tree / "new").write_bytes(b""),
    ],
)
def test_a_changed_tree_has_another_digest(tree, change):
    before = digests.digest(tree)
    change(tree)
    assert digests.digest(tree) != before


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
