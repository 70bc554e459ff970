from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irgen import records, starting
from irgen.errors import SettingsError, SourceError
from irgen.records import Box, Frame
from irgen.settings import HalvingSearch, SamplesSettings, StartSettings, parse
from irgen.starting import FROM_NOISE, Start, Starts

WIDTH_PX, HEIGHT_PX = 40, 20


def frame(name: str, *boxes: Box, split: str = "train") -> Frame:
    return Frame(
        name, "kaist", split, "set00", "V000", "day", "road", "", f"{name}.png", "", "", WIDTH_PX, HEIGHT_PX, boxes
    )


PERSON = Box("person", 4, 4, 8, 16)
FRAMES = [
    frame("empty", Box("car", 0, 0, 4, 4)),
    frame("full", PERSON),
    frame("hidden", Box("person", 0, 0, 9, 9, occlusion=2), Box("people", 0, 0, 9, 9, ignore=True)),
    frame("tested", Box("cyclist", 0, 0, 9, 9), split="test"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number, one in enumerate(FRAMES):
        Image.fromarray(np.full((HEIGHT_PX, WIDTH_PX), 40 * number, np.uint8)).save(tmp_path / one.lwir)
    records.write_rows(tmp_path / "frames.parquet", FRAMES, Frame.SCHEMA)
    monkeypatch.setattr(starting.sources, "root_of", lambda folder: folder)
    return tmp_path


def test_shares_of_images_start_from_frames_whoever_asks_first(folder: Path) -> None:
    starts = Starts(StartSettings(inherit=0.5, insert=0.2), 0, folder)
    chosen = [starts.choose(index, "full") for index in range(400)]
    modes = [one.mode for one in chosen]
    assert modes.count("inherit") == pytest.approx(200, abs=40) and modes.count("insert") == pytest.approx(80, abs=30)
    assert starts.choose(399, "full") == chosen[399]


def test_an_image_inherits_the_boxes_of_its_captions_frame(folder: Path) -> None:
    start = Starts(StartSettings(inherit=1), 0, folder).choose(3, "full")
    assert (start.mode, start.frame_id) == ("inherit", "full")
    assert start.boxes_px(80, 20) == [Box("person", 8, 4, 16, 16)]


def test_a_frame_of_another_split_gives_nothing(folder: Path) -> None:
    assert Starts(StartSettings(inherit=1), 0, folder).choose(0, "tested") == FROM_NOISE


def test_a_whole_person_of_another_frame_is_inserted_into_one_without_people(folder: Path) -> None:
    for index in range(20):
        start = Starts(StartSettings(insert=1), 0, folder).choose(index, "full")
        assert (start.mode, start.frame_id) == ("insert", "empty")
        assert start.boxes_px(WIDTH_PX, HEIGHT_PX) == [FRAMES[0].boxes[0], PERSON]


def test_without_anybody_to_insert_the_way_out_is_named(folder: Path) -> None:
    records.write_rows(folder / "frames.parquet", FRAMES[:1], Frame.SCHEMA)
    with pytest.raises(SourceError, match="1 train frames without people, 0 people to insert"):
        Starts(StartSettings(insert=0.1), 0, folder)


def test_a_start_is_read_back_from_its_score_sheet() -> None:
    for start in (FROM_NOISE, Start("inherit", "full", (PERSON, Box("people", 0, 0, 1, 1, 2, True)))):
        sheet = start.columns()
        assert all(isinstance(value, str) for value in sheet.values())
        assert Start.from_sheet(sheet) == start


def test_the_mask_holds_the_box_and_a_margin_and_never_nothing() -> None:
    mask = starting._mask(Box("person", 0.25, 0.25, 0.25, 0.5), (16, 20, 24))[0]
    assert mask[5:15, 6:12].all()
    assert mask[:3].sum() == mask[17:].sum() == mask[:, :5].sum() == mask[:, 13:].sum() == 0
    assert starting._mask(Box("person", 0.999, 0.999, 0.001, 0.001), (16, 20, 24)).sum() >= 1


def test_contradictions_are_refused() -> None:
    with pytest.raises(SettingsError, match="more than all images"):
        parse(StartSettings, {"inherit": 0.7, "insert": 0.4}, "settings")
    with pytest.raises(ValueError, match="fewer steps than halving"):
        SamplesSettings(steps=28, search=HalvingSearch(), start=StartSettings(inherit=0.5))
