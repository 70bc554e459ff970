import itertools

import pytest

from irgen.errors import SettingsError, SourceError


@pytest.mark.parametrize("names", [("visible", "lwir"), ("crop_LR_visible", "cropinfrared")])
def test_equal_names_are_pairs_and_the_rest_single_frames(raw, collect, names):
    visible, lwir = names
    for folder in names:
        raw.image(f"{folder}/FLIR_00001.jpg")
    raw.image(f"{visible}/FLIR_00002.jpg")
    raw.image(f"{lwir}/FLIR_video_00003.png")
    frames, rejects = collect("roadscene", raw.root)
    assert [(frame.id, frame.visible, frame.lwir) for frame in frames] == [
        ("FLIR_00001", f"{visible}/FLIR_00001.jpg", f"{lwir}/FLIR_00001.jpg"),
        ("FLIR_00002", f"{visible}/FLIR_00002.jpg", ""),
        ("FLIR_video_00003", "", f"{lwir}/FLIR_video_00003.png"),
    ]
    assert rejects == []
    assert {(frame.time, frame.boxes) for frame in frames} == {("", ())}


def test_bad_images_are_rejected_as_elsewhere(raw, collect):
    for folder in ("visible", "lwir"):
        for number in (1, 2, 3):
            raw.image(f"{folder}/FLIR_0000{number}.jpg")
    cut = raw.root / "lwir/FLIR_00001.jpg"
    cut.write_bytes(cut.read_bytes()[:200])
    raw.image("visible/FLIR_00002.jpg", width=80)
    raw.image("lwir/FLIR_00003.png")
    frames, rejects = collect("roadscene", raw.root)
    assert [frame.id for frame in frames] == ["FLIR_00003"]
    assert {(one.reason, one.path) for one in rejects} == {
        ("truncated_image", "lwir/FLIR_00001.jpg"),
        ("size_mismatch", "lwir/FLIR_00002.jpg"),
        ("duplicate_image", "lwir/FLIR_00003.png"),
    }


def test_a_folder_of_another_layout_and_annotations_are_refused(raw, collect):
    raw.image("thermal/a.jpg")
    with pytest.raises(SourceError, match=r"none of the folders[\s\S]*cropinfrared"):
        collect("roadscene", raw.root)
    with pytest.raises(SettingsError, match="no annotations"):
        collect("roadscene", raw.root, annotations=str(raw.root))


@pytest.mark.shared
def test_real_roadscene_is_counted_and_neighbours_stay_together(shared, collect):
    frames, rejects = collect("roadscene", shared / "roadscene")
    assert (len(frames), sum(frame.is_pair for frame in frames), rejects) == (169, 169, [])
    shares = {split: sum(frame.split == split for frame in frames) / 169 for split in ("train", "val", "test")}
    assert shares["test"] == pytest.approx(0.25, abs=0.05)
    assert shares["val"] == pytest.approx(0.75 * 0.15, abs=0.05)
    numbered = sorted((int(frame.id.rpartition("_")[2]), frame.split) for frame in frames if "video" not in frame.id)
    close = [(a, b) for (n, a), (m, b) in itertools.pairwise(numbered) if m - n <= 60]
    assert len(close) > 50
    assert all(a == b for a, b in close)
