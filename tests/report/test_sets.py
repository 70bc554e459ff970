from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irgen import records, store
from irgen.captions import forms
from irgen.errors import SourceError
from irgen.records import Caption, Frame
from irgen.report.sets import ImageSet, equalised, frame_sets, trained_set
from irgen.settings import FramesSettings


def frame(split: str, number: int, visible: bool = True) -> Frame:
    name = f"{split}{number:02d}"
    paths = (f"visible/{name}.png" if visible else "", f"lwir/{name}.png")
    return Frame(name, "folder", split, "", f"v{number % 6}", "day", "", *paths, "", "", 8, 6)


def caption(of: Frame) -> Caption:
    text = f"a road, frame {of.id}"
    return Caption(of.id, of.split, text, forms.infrared(text), forms.grayscale(text), "rules", 12, False)


@pytest.fixture
def stages(tmp_path: Path) -> Callable[[list[Frame], list[Frame]], tuple[Path, Path]]:
    """Writes a frames and a captions output, and the images themselves: visible is red, LWIR is gray."""

    def write(frames: list[Frame], captioned: list[Frame]) -> tuple[Path, Path]:
        raw = tmp_path / "raw"
        for folder in ("visible", "lwir"):
            (raw / folder).mkdir(parents=True)
        for level, one in enumerate(frames):
            Image.fromarray(np.full((6, 8), level, np.uint8)).save(raw / one.lwir)
            if one.visible:
                Image.new("RGB", (8, 6), (200, 0, 0)).save(raw / one.visible)
        outputs = tmp_path / "frames", tmp_path / "captions"
        settings = FramesSettings(source="folder", root=str(raw)).model_dump(mode="json")
        for folder, sections in zip(outputs, ({"frames": settings}, {}), strict=True):
            folder.mkdir()
            store.write_manifest(folder, {"settings": sections}, [])
        records.write_rows(outputs[0] / "frames.parquet", frames, Frame.SCHEMA)
        records.write_rows(outputs[1] / "captions.parquet", map(caption, captioned), Caption.SCHEMA)
        return outputs

    return write


def test_real_frames_are_split_into_reference_floor_and_baseline(stages: Callable[..., tuple[Path, Path]]) -> None:
    train, test = ([frame(split, number) for number in range(5)] for split in ("train", "test"))
    sets = frame_sets(*stages(train + test, train[:2] + test[1:]))
    assert sets["real"].keys == sets["grayscale"].keys == ("test01", "test02", "test03", "test04")
    assert sets["floor"].keys == tuple(one.id for one in train)
    assert sets["real"].captions[0] == "a road, frame test01"
    assert [image[0, 0].tolist() for image in sets["real"]] == [[level] * 3 for level in (6, 7, 8, 9)]
    luma = round(0.299 * 200)
    assert next(iter(sets["grayscale"]))[0, 0].tolist() == [luma] * 3
    assert next(iter(sets["inverted"]))[0, 0].tolist() == [255 - luma] * 3


def test_what_was_learnt_are_the_captioned_train_frames(stages: Callable[..., tuple[Path, Path]]) -> None:
    frames = [frame(split, number) for split in ("train", "val", "test") for number in range(4)]
    frames[1] = replace(frames[1], lwir="")
    learnt = trained_set(*stages([one for one in frames if one.lwir], [*frames[:3], *frames[4:6], frames[8]]))
    assert learnt.keys == ("train00", "train02")
    assert [image[0, 0, 0] for image in learnt] == [0, 1]


@pytest.mark.parametrize("visible", [0, 1])
def test_a_baseline_of_too_few_visible_images_is_left_out(
    stages: Callable[..., tuple[Path, Path]], visible: int
) -> None:
    frames = [frame("train", number) for number in range(6)]
    frames += [frame("test", number, number < visible) for number in range(6)]
    assert frame_sets(*stages(frames, frames)).keys() == {"real", "floor"}


def test_too_few_real_frames_are_named(stages: Callable[..., tuple[Path, Path]]) -> None:
    frames = [frame("train", 0), frame("train", 1), frame("test", 0), frame("test", 1)]
    with pytest.raises(SourceError, match="1 captioned test frames"):
        frame_sets(*stages(frames, frames[:3]))


def test_all_sets_are_cut_to_the_smallest_and_to_the_limit(make_set: Callable[..., ImageSet]) -> None:
    sets = {name: make_set(name, count, 100) for name, count in (("real", 30), ("unguided", 20), ("guided", 20))}
    cut = equalised(sets, ("unguided", "guided"), 25, seed=0)
    assert {len(one) for one in cut.sets.values()} == {20}
    cut = equalised(sets, ("unguided", "guided"), 7, seed=0)
    assert {len(one) for one in cut.sets.values()} == {7}
    assert cut.sets["unguided"].keys == cut.sets["guided"].keys != cut.sets["real"].keys
    assert list(cut.sets["real"].keys) == sorted(cut.sets["real"].keys)
    assert equalised(sets, ("unguided", "guided"), 7, seed=1).sets["real"].keys != cut.sets["real"].keys


def test_a_set_can_be_read_twice_and_in_part(make_set: Callable[..., ImageSet]) -> None:
    one = make_set("real", 10, 100).take([1, 4])
    assert one.captions == ("scene 000001", "scene 000004")
    np.testing.assert_array_equal(np.stack(list(one)), np.stack(list(one)))


def test_videos_are_resampled_whole_only_where_there_are_enough(make_set: Callable[..., ImageSet]) -> None:
    many, few, none = (make_set("real", 20, 100, videos) for videos in (10, 3, 0))
    assert many.groups == many.videos and few.groups == few.keys and none.groups == none.keys


def times(one: ImageSet, *pattern: str) -> ImageSet:
    return replace(one, times=tuple(pattern[number % len(pattern)] for number in range(len(one))))


def test_day_and_night_are_mixed_as_in_the_generated_images(make_set: Callable[..., ImageSet]) -> None:
    sets = {
        "real": times(make_set("real", 40, 100), "day", "day", "day", "night"),
        "guided": times(make_set("guided", 30, 100), "day", "night", "night"),
        "unguided": times(make_set("unguided", 30, 100), "day", "night", "night"),
    }
    equal = equalised(sets, ("unguided", "guided"), 100, seed=0)
    assert equal.mix == {"day": 5, "night": 10}, "the 10 real night frames are two thirds of what there can be"
    assert all(sorted(one.times) == ["day"] * 5 + ["night"] * 10 for one in equal.sets.values())
    assert equal.sets["unguided"].keys == equal.sets["guided"].keys


@pytest.mark.parametrize("real", [("day",), ("day",) * 39 + ("night",)])
def test_a_mix_that_would_cost_most_images_is_not_made(
    make_set: Callable[..., ImageSet], real: tuple[str, ...]
) -> None:
    sets = {"real": times(make_set("real", 40, 100), *real), "guided": make_set("guided", 40, 100)}
    equal = equalised(sets, ("guided",), 30, seed=0)
    assert equal.mix == {} and len(equal.sets["real"]) == len(equal.sets["guided"]) == 30
