import itertools
import json
from collections import Counter, defaultdict

import pytest

from irgen.errors import SourceError
from irgen.records import Box, Frame
from irgen.settings import FramesSettings
from irgen.sources import read

CATEGORIES = [
    {"id": n, "name": name} for n, name in enumerate(("Person", "Car", "Bicycle", "OtherVehicle", "DontCare"))
]


def document(names, boxes=(), upstream=True, date="20210116"):
    """Boxes are (number of the image, category, bbox)."""
    file, rows = ("filename", "annotation") if upstream else ("file_name", "annotations")
    return {
        "images": [
            {file: name, "width": 64, "height": 48, "id": n, "date_captured": date} for n, name in enumerate(names)
        ],
        rows: [
            {"id": n, "image_id": image, "category_id": category, "bbox": bbox}
            for n, (image, category, bbox) in enumerate(boxes)
        ],
        "categories": CATEGORIES,
    }


def write(raw, split, content, names=(), above="images/"):
    raw.text(f"annotations/{split}.json", json.dumps(content))
    for name in names:
        raw.image(f"{above}{split}/{name}")


@pytest.mark.parametrize("upstream", [True, False])
@pytest.mark.parametrize("above", ["images/", ""])
def test_boxes_labels_and_time_are_read_in_either_spelling(raw, collect, upstream, above):
    names = ["0_100_30_0_00001.jpg", "1_60_50_0_00002.jpg"]
    boxes = [(0, category, [1, 2, 3.5, 4]) for category in range(5)]
    write(raw, "train", document(names, boxes, upstream), names, above)
    (day, night), rejects = collect("hit-uav", raw.root)
    assert rejects == []
    assert (day.id, day.time, day.video, day.visible) == ("0_100_30_0_00001", "day", "20210116/0_100_30_0", "")
    assert (night.time, night.boxes) == ("night", ())
    assert [(box.label, box.ignore) for box in day.boxes] == [
        ("person", False),
        ("car", False),
        ("cyclist", False),
        ("vehicle", False),
        ("dontcare", True),
    ]
    assert day.boxes[0] == Box("person", 1, 2, 3.5, 4)


def test_bad_input_is_rejected_with_its_reason(raw, collect):
    names = [f"0_100_30_0_0000{n}.jpg" for n in range(6)]
    boxes = [
        (1, 9, [1, 2, 3, 4]),
        (1, 0, [70, 2, 3, 4]),
        (2, 0, [1, 2, 3]),
        (99, 0, [1, 2, 3, 4]),
        (0, 0, [1, 2, 3, 4]),
    ]
    write(raw, "train", document(names, boxes), names[:5])
    raw.image("images/train/0_100_30_0_00009.jpg")
    raw.image("images/train/0_100_30_0_00003.jpg", width=32)
    cut = raw.root / "images/train/0_100_30_0_00004.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    frames, rejects = collect("hit-uav", raw.root)
    assert [frame.id[-1] for frame in frames] == ["0", "1"]
    at = "0_100_30_0_0000"
    assert sorted((one.reason, one.item) for one in rejects) == [
        ("bad_annotation", f"{at}2"),
        ("bad_annotation", "train#3"),
        ("box_outside", f"{at}1#2"),
        ("missing_listed", f"{at}5"),
        ("no_annotation", f"{at}9"),
        ("size_mismatch", f"{at}3"),
        ("truncated_image", f"{at}4"),
        ("unknown_class", f"{at}1#1"),
    ]


def recordings(frames):
    found = defaultdict(set)
    for frame in frames:
        found[frame.video].add(frame.split)
    return found


def test_folders_that_part_a_recording_are_split_anew_by_recording(raw, collect):
    names = {
        split: [f"{time}_{height}_30_0_{n:05d}.jpg" for time in (0, 1) for height in (60, 70, 80, 90) for n in numbers]
        for split, numbers in (("val", (1, 2, 3)), ("test", (4,)))
    }
    for split, files in names.items():
        write(raw, split, document(files), files)
    frames, _ = collect("hit-uav", raw.root)
    assert len(frames) == 32
    found = recordings(frames)
    assert all(len(splits) == 1 for splits in found.values())
    assert {split for splits in found.values() for split in splits} == {"train", "val", "test"}


def test_folders_that_keep_recordings_whole_are_kept(raw, collect):
    for split, height in (("train", 60), ("val", 70), ("test", 80)):
        files = [f"0_{height}_30_0_{n:05d}.jpg" for n in range(3)]
        write(raw, split, document(files), files)
    frames, _ = collect("hit-uav", raw.root)
    assert Counter((frame.id.split("_")[1], frame.split) for frame in frames) == {
        ("60", "train"): 3,
        ("70", "val"): 3,
        ("80", "test"): 3,
    }


def test_a_teams_own_frames_in_this_layout_stay_in_their_folders(raw, collect):
    """Whose names tell nothing of recordings: a run of names is no recording that is in two folders."""
    for split, numbers in (("train", range(30)), ("val", range(30, 34)), ("test", range(34, 40))):
        files = [f"FLIR_{n:05d}.jpg" for n in numbers]
        write(raw, split, document(files), files)
    frames, _ = collect("hit-uav", raw.root)
    assert Counter(frame.split for frame in frames) == {"train": 30, "val": 4, "test": 6}
    assert all(f"/{frame.split}/" in frame.lwir for frame in frames)
    assert len(recordings(frames)) == 10 + 4 + 6


def test_a_teams_own_frames_in_one_file_part_at_the_seams_of_blocks_alone(raw, collect):
    files = [f"{n:06d}.jpg" for n in range(60)]
    write(raw, "all", document(files), files)
    frames, _ = collect("hit-uav", raw.root)
    seams = sum(one.split != other.split for one, other in itertools.pairwise(frames))
    assert {frame.split for frame in frames} == {"train", "val", "test"} and seams < 10


def test_annotations_alone_need_no_images(raw):
    write(raw, "train", document(["0_1_1_0_1.jpg"], [(0, 0, [1, 2, 3, 4])]))
    settings = FramesSettings(source="hit-uav", root=str(raw.root), annotations_only=True)
    (frame,) = read(settings, raw.root)
    assert isinstance(frame, Frame)
    assert (frame.width_px, frame.lwir, len(frame.boxes)) == (64, "", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "holds no object"),
        ('{"images": [], "categories": []}', "`annotations` is not a list"),
        ('{"images": 5}', "`categories` is not a list"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_a_broken_json_file_is_named(raw, collect, text, says):
    raw.image("images/train/0_1_1_0_1.jpg")
    raw.text("annotations/train.json", text)
    with pytest.raises(SourceError, match=rf"train\.json.*{says}"):
        collect("hit-uav", raw.root)


def test_an_empty_folder_says_what_belongs_there(raw, collect):
    with pytest.raises(SourceError, match=r"no folder `annotations`[\s\S]*train,val,test"):
        collect("hit-uav", raw.root)


def test_a_bare_folder_of_annotations_or_a_file_of_them_is_taken_where_it_lies_apart(raw, tmp_path):
    names = ["0_100_30_0_00001.jpg"]
    write(raw, "train", document(names))
    settings = {"source": "hit-uav", "root": str(raw.root), "annotations_only": True}
    for place in (raw.root / "annotations", raw.root / "annotations" / "train.json"):
        found = read(FramesSettings(**settings, annotations=str(place)), raw.root)
        assert [one.id for one in found] == ["0_100_30_0_00001"]
    with pytest.raises(SourceError, match=r"nowhere: no such annotations"):
        list(read(FramesSettings(**settings, annotations=str(tmp_path / "nowhere")), raw.root))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"empty: no \.json in it"):
        list(read(FramesSettings(**settings, annotations=str(tmp_path / "empty")), raw.root))


def test_an_image_of_a_frame_that_has_one_and_an_entry_that_names_none_are_rejects(raw, collect):
    names = ["0_100_30_0_00001.jpg", "", "0_100_30_0_00001.jpg"]
    write(raw, "train", document(names), names[:1])
    raw.image(f"images/val/{names[0]}")
    (frame,), rejects = collect("hit-uav", raw.root)
    assert frame.lwir == f"images/train/{names[0]}"
    assert sorted((one.reason, one.item) for one in rejects) == [
        ("bad_annotation", ""),
        ("duplicate_annotation", "0_100_30_0_00001"),
        ("duplicate_image", "0_100_30_0_00001"),
    ]


@pytest.mark.parametrize("bbox", [[1, 2, "3", 4], [1, 2, 3, 1e300], [float("nan"), 2, 3, 4]])
def test_a_box_that_is_no_four_numbers_rejects_its_frame(raw, collect, bbox):
    names = ["0_100_30_0_00001.jpg"]
    write(raw, "train", document(names, [(0, 0, bbox)]), names)
    frames, rejects = collect("hit-uav", raw.root)
    assert frames == []
    assert [(one.item, one.reason) for one in rejects] == [("0_100_30_0_00001", "bad_annotation")]


@pytest.mark.shared
def test_real_hit_uav_is_counted(shared, collect):
    frames, rejects = collect("hit-uav", shared / "hit-uav")
    assert (len(frames), rejects) == (540, [])
    assert Counter(box.label for frame in frames for box in frame.boxes) == {
        "person": 2498,
        "car": 1216,
        "cyclist": 920,
        "vehicle": 26,
        "dontcare": 32,
    }
    found = recordings(frames)
    assert len(found) == 202
    assert all(len(splits) == 1 for splits in found.values())
    assert sum(frame.split == "val" for frame in frames) == 90
    assert all("images/val/" in frame.lwir for frame in frames if frame.split == "val")
