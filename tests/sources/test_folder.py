import os

import pytest

from irgen.errors import SourceError
from irgen.settings import FramesSettings
from irgen.sources import external_digests


def test_images_are_found_below_and_taken_for_lwir(raw, collect):
    for path in ("a.jpg", "b/c.PNG", "b/d/e.jpeg", "b/d/.hidden.jpg", "notes.txt"):
        raw.text(path, "") if path.endswith("txt") else raw.image(path)
    frames, rejects = collect("folder", raw.root)
    assert [(frame.id, frame.lwir, frame.visible) for frame in frames] == [
        ("a", "a.jpg", ""),
        ("b/c", "b/c.PNG", ""),
        ("b/d/e", "b/d/e.jpeg", ""),
    ]
    assert rejects == []


def test_bad_images_are_rejected(raw, collect):
    raw.image("a.jpg")
    raw.image("a.png")
    raw.text("b.jpg", "")
    frames, rejects = collect("folder", raw.root)
    assert [frame.lwir for frame in frames] == ["a.jpg"]
    assert [(one.reason, one.path) for one in rejects] == [("duplicate_image", "a.png"), ("empty_image", "b.jpg")]


def test_subfolders_are_videos_and_few_of_them_are_cut_into_blocks(raw, collect):
    for video in "abcd":
        for number in range(3):
            raw.image(f"{video}/{number}.jpg")
    frames, _ = collect("folder", raw.root)
    assert {frame.video for frame in frames} == set("abcd")
    assert all(len({one.split for one in frames if one.video == video}) == 1 for video in "abcd")
    blocks, _ = collect("folder", raw.root / "a")
    assert [frame.video for frame in blocks] == ["block0", "block3", "block6"]
    assert {frame.split for frame in blocks} == {"train", "val", "test"}


@pytest.mark.parametrize("names", [("train", "val", "test"), ("day/Train", "day/valid", "night/testing")])
def test_folders_named_for_splits_are_taken_at_their_word(raw, collect, names):
    for name, count in zip(names, (30, 4, 6), strict=True):
        for number in range(count):
            raw.image(f"{name}/{number:03d}.jpg")
    frames, _ = collect("folder", raw.root)
    assert {frame.id.rpartition("/")[0]: frame.split for frame in frames} == dict(
        zip(names, ("train", "val", "test"), strict=True)
    )
    assert len({frame.video for frame in frames if frame.split == "train"}) == 10


def test_what_such_folders_lack_is_taken_from_train(raw, collect):
    for number in range(30):
        raw.image(f"{'train' if number < 20 else 'test'}/{number:03d}.jpg")
    frames, _ = collect("folder", raw.root)
    of = {split: [frame.id for frame in frames if frame.split == split] for split in ("train", "val", "test")}
    assert of["test"] == [f"test/{number:03d}" for number in range(20, 30)]
    assert of["val"] and of["train"] and all(name.startswith("train/") for name in of["val"] + of["train"])


def test_a_folder_whose_name_is_no_text_costs_its_images_alone(raw, collect):
    for video in ("a", "b", os.fsdecode(b"stra\xdfe")):
        raw.image(f"{video}/0.jpg")
    frames, rejects = collect("folder", raw.root)
    assert [frame.id for frame in frames] == ["a/0", "b/0"] and [one.reason for one in rejects] == ["bad_name"]


def test_splits_do_not_depend_on_where_the_folder_lies_or_what_else_is_rejected(raw, collect, tmp_path):
    for video in "abcdefgh":
        raw.image(f"{video}/0.jpg")
    before = {frame.id: frame.split for frame in collect("folder", raw.root)[0]}
    raw.root.rename(tmp_path / "elsewhere")
    assert {frame.id: frame.split for frame in collect("folder", tmp_path / "elsewhere")[0]} == before


def test_the_digest_follows_contents_and_names_not_the_place(raw, tmp_path):
    file = raw.image("a.jpg")
    first = external_digests(FramesSettings(source="folder", root=str(raw.root)))
    raw.root.rename(tmp_path / "elsewhere")
    moved = FramesSettings(source="folder", root=str(tmp_path / "elsewhere"))
    assert external_digests(moved) == first
    file = tmp_path / "elsewhere" / file.name
    file.write_bytes(file.read_bytes() + b"\0")
    assert external_digests(moved) != first


def test_a_missing_folder_is_named(raw, collect):
    with pytest.raises(SourceError, match="nowhere: no such folder"):
        collect("folder", raw.root / "nowhere")
