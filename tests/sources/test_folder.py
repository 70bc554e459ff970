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
