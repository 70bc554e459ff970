import io
import tarfile
from collections import Counter

import pytest

from irgen.errors import SourceError
from irgen.records import Box, Frame, Reject
from irgen.settings import FramesSettings
from irgen.sources import annotations_name, kaist, read
from irgen.sources.reading import REASONS
from tests.sources.conftest import HEADER, PERSON


def reasons(rejects):
    assert {one.reason for one in rejects} <= set(REASONS)
    return {one.reason: one.item for one in rejects}


def test_a_pair_becomes_a_frame_with_all_it_says(raw, collect):
    raw.frame("set03/V001/I00007", HEADER + PERSON + "people 1 2 3 4 2 0 0 0 0 0 0\nperson 5 5 5 5 0 0 0 0 0 1 0\n")
    (frame,), rejects = collect("kaist", raw.root)
    assert rejects == []
    assert (frame.id, frame.source, frame.set, frame.video) == ("set03/V001/I00007", "kaist", "set03", "set03/V001")
    assert (frame.time, frame.place, frame.split) == ("night", "campus", "train")
    assert (frame.visible, frame.lwir) == ("set03/V001/visible/I00007.jpg", "set03/V001/lwir/I00007.jpg")
    assert frame.is_pair and len(frame.visible_sha256) == 64
    assert (frame.width_px, frame.height_px) == (64, 48)
    assert frame.boxes == (
        Box("person", 10, 20, 5, 8),
        Box("people", 1, 2, 3, 4, 2, ignore=True),
        Box("person", 5, 5, 5, 5, ignore=True),
    )


@pytest.mark.parametrize("start", ["", "images"])
def test_images_may_lie_one_folder_deeper_and_the_root_may_be_either(raw, collect, start):
    raw.pair("set00/V000/I00001", "images/")
    raw.text("annotations/set00_V000_I00001.txt")
    (frame,), rejects = collect("kaist", raw.root / start)
    assert rejects == []
    assert (raw.root / start / frame.lwir).is_file()


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "JPG", "PNG"])
def test_one_modality_is_a_frame_whatever_the_suffix(raw, collect, suffix):
    raw.image(f"set00/V000/lwir/I00001.{suffix}")
    raw.text("annotations/set00/V000/I00001.txt")
    (frame,), rejects = collect("kaist", raw.root)
    assert rejects == []
    assert (frame.visible, frame.visible_sha256, frame.is_pair) == ("", "", False)
    assert frame.lwir.endswith(suffix)


def test_every_kind_of_bad_input_is_one_reject_with_its_reason_and_path(raw, collect):
    raw.frame("set00/V000/I00001")
    raw.frame("set00/V000/I00002")
    cut = raw.root / "set00/V000/lwir/I00002.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    raw.frame("set00/V000/I00003")
    (raw.root / "set00/V000/visible/I00003.jpg").write_bytes(b"")
    raw.frame("set00/V000/I00004")
    (raw.root / "set00/V000/visible/I00004.jpg").write_text("<html>")
    raw.frame("set00/V000/I00005")
    raw.image("set00/V000/visible/I00005.jpg", width=32)
    raw.pair("set00/V000/I00006")
    raw.frame("set00/V000/I00007", "person 1")
    raw.frame("set00/V000/I00008", HEADER + "dragon 1 2 3 4 0 0 0 0 0 0 0\n" + PERSON)
    raw.frame("set00/V000/I00009", HEADER + PERSON + "person 64 2 3 4 0 0 0 0 0 0 0\nperson 5 5 0 4 0 0 0 0 0 0 0\n")
    raw.frame("set00/V000/I00010")
    raw.image("set00/V000/lwir/I00010.png")
    raw.frame("set12/V000/I00001")
    raw.image("set00/V000/thermal/I00011.jpg")
    frames, rejects = collect("kaist", raw.root)
    assert [frame.id[-5:] for frame in frames] == ["00001", "00008", "00009", "00010"]
    assert [len(frame.boxes) for frame in frames] == [1, 1, 1, 1]
    found = {(one.reason, one.item, one.path) for one in rejects}
    at = "set00/V000"
    assert found == {
        ("truncated_image", f"{at}/I00002", f"{at}/lwir/I00002.jpg"),
        ("empty_image", f"{at}/I00003", f"{at}/visible/I00003.jpg"),
        ("unreadable_image", f"{at}/I00004", f"{at}/visible/I00004.jpg"),
        ("size_mismatch", f"{at}/I00005", f"{at}/lwir/I00005.jpg"),
        ("no_annotation", f"{at}/I00006", f"{at}/lwir/I00006.jpg"),
        ("bad_annotation", f"{at}/I00007", f"annotations/{at}/I00007.txt"),
        ("unknown_class", f"{at}/I00008#1", f"annotations/{at}/I00008.txt"),
        ("box_outside", f"{at}/I00009#2", f"annotations/{at}/I00009.txt"),
        ("box_outside", f"{at}/I00009#3", f"annotations/{at}/I00009.txt"),
        ("duplicate_image", f"{at}/I00010", f"{at}/lwir/I00010.png"),
        ("unknown_set", "set12/V000/I00001", "set12/V000/lwir/I00001.jpg"),
        ("bad_name", f"{at}/thermal/I00011.jpg", f"{at}/thermal/I00011.jpg"),
    }
    assert len(rejects) == len(found)
    assert all(one.detail for one in rejects)
    assert {one.reason for one in rejects} <= set(REASONS)


def test_a_box_partly_outside_is_clipped(raw, collect):
    raw.frame("set00/V000/I00001", HEADER + "person -5 40 10.5 20 1 0 0 0 0 0 0\n")
    (frame,), rejects = collect("kaist", raw.root)
    assert rejects == []
    assert frame.boxes == (Box("person", 0, 40, 5.5, 8, 1),)


def test_labels_are_spelled_as_irgen_spells_them_and_cars_are_not_kaist(raw, collect):
    rows = "".join(f"{label} 1 2 3 4 0 0 0 0 0 0 0\n" for label in ("Person", "person?a", "cyclist", "car"))
    raw.frame("set00/V000/I00001", HEADER + rows)
    (frame,), rejects = collect("kaist", raw.root, ignore_labels=("cyclist",))
    assert [(box.label, box.ignore) for box in frame.boxes] == [
        ("person", False),
        ("person?", False),
        ("cyclist", True),
    ]
    assert reasons(rejects) == {"unknown_class": "set00/V000/I00001#4"}


def test_an_annotation_of_another_image_size_is_a_mismatch(raw, collect):
    raw.pair("set00/V000/I00001")
    raw.pair("set00/V000/I00002")
    for number, width in ((1, 64), (2, 640)):
        size = f"<size><width>{width}</width><height>48</height></size>"
        raw.text(f"annotations-xml-new/set00/V000/I0000{number}.xml", f"<annotation>{size}</annotation>")
    (frame,), (reject,) = collect("kaist", raw.root)
    assert frame.id == "set00/V000/I00001"
    assert (reject.item, reject.reason) == ("set00/V000/I00002", "size_mismatch")


@pytest.mark.parametrize(
    ("lie_there", "taken"),
    [
        (["annotations", "annotations-xml-new", "annotations-improved-txt"], "annotations-improved-txt"),
        (
            ["annotations", "annotations-xml-new", "annotations_KAIST_test_sanitized"],
            "annotations_KAIST_test_sanitized",
        ),
        (["annotations", "annotations-xml-new"], "annotations-xml-new"),
        (["annotations", "annotations-original-txt"], "annotations"),
        (["annotations-original"], "annotations-original"),
    ],
)
def test_the_better_annotations_are_taken_and_named(raw, collect, lie_there, taken):
    raw.pair("set00/V000/I00001")
    for name in lie_there:
        x = 10 if name == taken else 30
        raw.text(f"{name}/set00/V000/I00001.txt", HEADER + f"person {x} 2 3 4 0 0 0 0 0 0 0\n")
    (frame,), _ = collect("kaist", raw.root)
    assert frame.boxes[0].x_px == 10
    assert annotations_name(FramesSettings(source="kaist", root=str(raw.root)), raw.root) == taken


def test_old_and_new_annotations_never_mix(raw, collect):
    raw.pair("set00/V000/I00001")
    raw.pair("set00/V000/I00002")
    raw.text("annotations-improved/set00/V000/I00001.txt")
    raw.text("annotations/set00/V000/I00002.txt")
    (frame,), (reject,) = collect("kaist", raw.root)
    assert frame.id == "set00/V000/I00001"
    assert (reject.reason, reject.item) == ("no_annotation", "set00/V000/I00002")


def test_named_annotations_win_and_unused_ones_are_no_reject(raw, collect, tmp_path):
    raw.frame("set00/V000/I00001")
    with tarfile.open(tmp_path / "mine.tar.gz", "w:gz") as tar:
        for number in (1, 2):
            info = tarfile.TarInfo(f"x/set00/V000/I0000{number}.txt")
            info.size = len(HEADER)
            tar.addfile(info, io.BytesIO(HEADER.encode()))
    (frame,), rejects = collect("kaist", raw.root, annotations=str(tmp_path / "mine.tar.gz"))
    assert (frame.boxes, rejects) == ((), [])


def test_lists_restrict_the_frames_and_name_what_is_missing(raw, collect, tmp_path):
    for number in (1, 2, 3):
        raw.frame(f"set06/V000/I0000{number}")
    names = tmp_path / "test-all.txt"
    names.write_bytes(b"\xef\xbb\xbfset06/V000/I00003\r\n\r\nset06/V000/I00001\r\nset06/V000/I00009\r\n")
    frames, (reject,) = collect("kaist", raw.root, image_sets=(str(names),))
    assert [frame.id for frame in frames] == ["set06/V000/I00001", "set06/V000/I00003"]
    assert (reject.item, reject.path, reject.reason) == ("set06/V000/I00009", "test-all.txt", "missing_listed")


def test_annotations_alone_need_no_images(raw, tmp_path):
    raw.text("a/set00/V000/I00001.txt")
    size = "<size><width>320</width><height>256</height></size>"
    raw.text("a/set06/V000/I00001.xml", f"<annotation>{size}</annotation>")
    settings = FramesSettings(source="kaist", annotations=str(raw.root / "a"), annotations_only=True)
    frames = list(read(settings, tmp_path))
    assert [(one.id, one.width_px, one.height_px, one.lwir) for one in frames if isinstance(one, Frame)] == [
        ("set00/V000/I00001", 640, 512, ""),
        ("set06/V000/I00001", 320, 256, ""),
    ]


def test_whole_videos_are_held_out_by_day_and_night_and_tests_stay_tests(raw, collect):
    for video in ("set00/V000", "set00/V001", "set01/V000", "set03/V000", "set04/V001", "set07/V000", "set10/V000"):
        for number in range(3):
            raw.frame(f"{video}/I0000{number}")
    frames, _ = collect("kaist", raw.root)
    by_video = {frame.video: {one.split for one in frames if one.video == frame.video} for frame in frames}
    assert all(len(splits) == 1 for splits in by_video.values())
    assert {video for video, splits in by_video.items() if splits == {"test"}} == {"set07/V000", "set10/V000"}
    val = [frame.time for frame in frames if frame.split == "val"]
    assert Counter(val) == {"day": 3, "night": 3}
    assert {frame.split for frame in collect("kaist", raw.root, val_fraction=0)[0]} == {"train", "test"}


@pytest.mark.parametrize("videos", [1, 2])
def test_with_two_training_videos_one_is_val_with_one_none(raw, collect, videos):
    for number in range(videos):
        raw.frame(f"set0{3 * number}/V000/I00000")
    frames, _ = collect("kaist", raw.root)
    assert sum(frame.split == "val" for frame in frames) == videos - 1


@pytest.mark.parametrize("linked", ["set00", "set00/V000", "annotations/set00"])
def test_a_linked_folder_is_followed(raw, collect, tmp_path, linked):
    raw.frame("set00/V000/I00001")
    (raw.root / linked).rename(tmp_path / "elsewhere")
    (raw.root / linked).symlink_to(tmp_path / "elsewhere")
    frames, rejects = collect("kaist", raw.root)
    assert (len(frames), rejects) == (1, [])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: None, "no folder setXX"),
        (lambda root: (root / "set00").mkdir(), r"no folder or archive `annotations"),
        (lambda root: root.rmdir(), "no such folder"),
        (lambda root: (root.rmdir(), root.write_text("")), "is not a folder"),
        (lambda root: ((root / "set00").mkdir(), (root / "annotations").mkdir()), "no annotation named"),
    ],
)
def test_a_wrong_folder_is_named_with_what_was_expected(raw, collect, make, says):
    make(raw.root)
    with pytest.raises(SourceError, match=says) as caught:
        kaist.images_folder(raw.root)
        collect("kaist", raw.root)
    assert str(raw.root) in caught.value.what
    assert caught.value.fix


def test_missing_annotations_or_lists_are_named(raw, collect):
    raw.frame("set00/V000/I00001")
    with pytest.raises(SourceError, match="nowhere: no such annotations"):
        collect("kaist", raw.root, annotations=str(raw.root / "nowhere"))
    with pytest.raises(SourceError, match=r"nowhere\.txt"):
        collect("kaist", raw.root, image_sets=(str(raw.root / "nowhere.txt"),))
    empty = raw.text("empty.txt", "\n")
    with pytest.raises(SourceError, match="names no frame"):
        collect("kaist", raw.root, image_sets=(str(empty),))


@pytest.mark.shared
def test_real_frames_of_kaist_are_counted(shared, collect):
    root = shared / "kaist"
    settings = FramesSettings(source="kaist", root=str(root))
    assert annotations_name(settings, root) == "annotations-improved-txt"
    for options in ({}, {"annotations": str(root / "annotations-xml-new")}):
        frames, rejects = collect("kaist", root, **options)
        assert (len(frames), sum(frame.is_pair for frame in frames), rejects) == (149, 5, [])
        assert Counter(box.label for frame in frames for box in frame.boxes) == {
            "person": 185,
            "people": 9,
            "person?": 7,
        }
        assert {frame.split for frame in frames} == {"test"}
        assert frames == sorted(frames, key=lambda frame: frame.id)


@pytest.mark.shared
def test_real_frames_with_samples_of_annotations_and_the_official_list(shared, collect):
    root = shared / "kaist"
    frames, rejects = collect("kaist", root, annotations=str(root / "annotations-original-txt-samples"))
    assert (len(frames), Counter(one.reason for one in rejects)) == (2, {"no_annotation": 147})
    frames, rejects = collect("kaist", root / "images", image_sets=(str(root / "imageSets" / "test-all-20.txt"),))
    assert (len(frames), Counter(one.reason for one in rejects)) == (149, {"missing_listed": 2252 - 149})
    assert isinstance(rejects[0], Reject)
