import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from irgen import sources
from irgen.errors import SourceError
from irgen.pipeline import run_stage, stage_named
from irgen.records import Frame, Reject, read_rows
from irgen.settings import FramesSettings, MiniatureScenes
from irgen.stages import frames as stage
from irgen.store import problems

HEADER = "% bbGt version=3\n"


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64).astype(np.uint8)).save(path)


@pytest.fixture
def kaist(tmp_path):
    """Three frames, of which one is a pair and one is cut."""
    root = tmp_path / "kaist"
    for frame_id in ("set00/V000/I00002", "set00/V000/I00001", "set01/V000/I00001"):
        video, name = frame_id.rsplit("/", 1)
        image(root / video / "lwir" / f"{name}.jpg")
        labels = root / "annotations" / video / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(HEADER + "person 1 2 3 4 0 0 0 0 0 0 0\ndragon 1 2 3 4 0 0 0 0 0 0 0\n")
    image(root / "set00/V000/visible/I00001.jpg")
    cut = root / "set01/V000/lwir/I00001.jpg"
    cut.write_bytes(cut.read_bytes()[:-20])
    return root


def settings(root, **options):
    return FramesSettings(source="kaist", root=str(root), **options)


def test_frames_are_written_sorted_and_rejects_beside_them(kaist, tmp_path):
    out = tmp_path / "out"
    figures = stage.run(settings(kaist), out)
    assert figures == {
        "frames": 2,
        "pairs": 1,
        "boxes": {"person": 2},
        "rejects": {"truncated_image": 1, "unknown_class": 2},
        "annotations": "annotations",
    }
    found = read_rows(out / "frames.parquet", Frame)
    assert [frame.id for frame in found] == ["set00/V000/I00001", "set00/V000/I00002"]
    assert len(read_rows(out / "rejects.parquet", Reject)) == 3
    assert sorted(path.name for path in out.iterdir()) == ["frames.parquet", "rejects.parquet"]


def test_the_output_does_not_depend_on_threads_or_on_being_made_twice(kaist, tmp_path, monkeypatch):
    stage.run(settings(kaist), tmp_path / "one")
    monkeypatch.setattr(sources.reading, "THREADS", 1)
    monkeypatch.setattr(sources.reading, "AHEAD", 1)
    stage.run(settings(kaist), tmp_path / "two")
    stage.run(settings(kaist), tmp_path / "two")
    for name in ("frames.parquet", "rejects.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_good_frame_is_an_error_that_says_why_and_writes_nothing(kaist, tmp_path):
    for path in kaist.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"not one frame .*empty_image: 3.*I00001\.jpg"):
        stage.run(settings(kaist), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: not one frame could be taken"):
        stage.run(FramesSettings(source="folder", root=str(tmp_path / "empty")), tmp_path / "out")


def test_a_changed_image_annotation_or_list_makes_another_output_and_nothing_else_does(kaist, tmp_path):
    names = tmp_path / "list.txt"
    names.write_text("set00/V000/I00001\n")
    wanted = settings(kaist, image_sets=(str(names),))

    def made():
        return run_stage(stage_named("frames"), tmp_path / "data", {"frames": wanted}, {})

    first = made()
    assert first.reused is False and made().reused is True
    assert problems(first.ref.folder) == []
    assert sources.root_of(first.ref.folder) == kaist
    refs = {first.ref.path}
    for path in (kaist / "annotations/set00/V000/I00001.txt", kaist / "set00/V000/lwir/I00002.jpg", names):
        path.write_bytes(path.read_bytes() + b"\n")
        refs.add(made().ref.path)
    assert len(refs) == 4


def test_frames_whose_images_are_gone_or_never_were_say_so(kaist, tmp_path):
    whole = run_stage(stage_named("frames"), tmp_path / "data", {"frames": settings(kaist)}, {}).ref.folder
    alone = settings(kaist, annotations_only=True)
    no_images = run_stage(stage_named("frames"), tmp_path / "data", {"frames": alone}, {}).ref.folder
    with pytest.raises(SourceError, match="have no images"):
        sources.root_of(no_images)
    kaist.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="is gone"):
        sources.root_of(whole)


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    wanted = FramesSettings(source="miniature", scenes=MiniatureScenes(train=24, test=12, seed=1))
    return run_stage(stage_named("frames"), tmp_path_factory.mktemp("data"), {"frames": wanted}, {})


def test_the_miniature_draws_pairs_in_all_splits_by_day_and_night(miniature):
    rows = pq.read_table(miniature.ref.folder / "frames.parquet").to_pylist()
    assert (miniature.figures["frames"], miniature.figures["pairs"], miniature.figures["rejects"]) == (36, 36, {})
    assert {row["source"] for row in rows} == {"miniature"}
    assert {(row["split"], row["time"]) for row in rows} >= {("train", "day"), ("train", "night"), ("test", "night")}
    assert sum(row["split"] == "test" for row in rows) == 12
    assert any(row["split"] == "val" for row in rows)
    root = sources.root_of(miniature.ref.folder)
    assert root == miniature.ref.folder / "raw"
    assert all((root / row["lwir"]).is_file() for row in rows)


def test_an_interrupted_drawing_is_begun_again(tmp_path):
    (tmp_path / "_tmp" / "raw" / "set00").mkdir(parents=True)
    wanted = FramesSettings(source="miniature", scenes=MiniatureScenes(train=8, test=8))
    assert stage.run(wanted, tmp_path)["frames"] == 16
    assert not (tmp_path / "_tmp" / "raw").exists()
