"""The written data set: KAIST's layout, text and conditions."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irgen.errors import SettingsError
from irgen.miniature import dataset


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_writes_kaists_layout_and_the_same_bytes_again(tmp_path: Path) -> None:
    told: list[int] = []
    dataset.write(tmp_path / "a", 12, 6, 3, told.append)
    dataset.write(tmp_path / "b", 12, 6, 3)
    first = files(tmp_path / "a")
    assert first == files(tmp_path / "b")
    assert sum(told) == 18 and len(first) == 3 * 18
    assert {"set00/V000/visible/I00000.jpg", "set11/V000/lwir/I00000.jpg", "annotations/set05/V000/I00001.txt"} <= set(
        first
    )


def test_images_are_three_channel_jpegs_of_96_by_80(tmp_path: Path) -> None:
    dataset.write(tmp_path, 1, 0, 0)
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 80))
    lwir = np.asarray(Image.open(next(tmp_path.rglob("lwir/*.jpg"))))
    assert np.ptp(lwir.astype(int), axis=2).max() <= 2


def test_annotations_are_caltech_text_with_integers() -> None:
    places = dataset.plan(60, dataset.TRAIN_SETS)
    for place in places[::5]:
        scene = dataset.scene_at(1, place)
        header, *rows = dataset.annotation(scene).splitlines()
        assert header == "% bbGt version=3" and len(rows) == len(scene.boxes)
        for row in rows:
            label, *numbers = row.split(" ")
            assert label in ("person", "cyclist", "car") and len(numbers) == 11
            values = [int(n) for n in numbers]
            assert (values[4] > 0) == any(values[5:9])


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 180, 1000])
def test_a_plan_has_every_frame_once_in_videos_of_a_sensible_length(count: int) -> None:
    places = dataset.plan(count, dataset.TEST_SETS)
    assert len(places) == len({place.name for place in places}) == count
    assert {place.set for place in places} <= set(range(6, 12))
    if count >= 180:
        sizes = Counter(place.video_name for place in places).values()
        assert min(sizes) >= 20 and max(sizes) <= 40


def test_sets_have_kaists_times_and_places() -> None:
    scene = dataset.scene_at(0, dataset.Place(10, 0, 0))
    assert (scene.time, scene.place) == ("night", "road")
    assert dataset.scene_at(0, dataset.Place(2, 0, 0)).place == "downtown"


def test_a_negative_count_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="-1"):
        dataset.write(tmp_path, -1, 0, 0)
