"""Images that start from frames, through all stages, as a user runs them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from irgen import images, records, sources, store
from irgen.records import Caption, Frame
from irgen.shards.dataset import Dataset, image_of
from irgen.starting import INSERT, MARGIN
from tests.test_run import MANIFEST, User

pytestmark = pytest.mark.slow
STARTS = {"start": {"inherit": 0.5, "insert": 0.5, "strength": 0.4}, "steps": 4, "images": 12}


@pytest.fixture(scope="module")
def user(tmp_path_factory, prefect_home) -> User:
    user = User(tmp_path_factory.mktemp("started"), prefect_home)
    user.write(MANIFEST | {"samples": MANIFEST["samples"] | STARTS})
    user.run("run", "tiny.yaml")
    return user


@pytest.fixture(scope="module")
def dataset(user) -> Dataset:
    return Dataset.open(user.folder / "data" / "tiny")


@pytest.fixture(scope="module")
def frames(user) -> dict[str, tuple[Frame, np.ndarray]]:
    folder = store.latest(user.folder / "data" / "tiny" / "01-frames").folder
    read = records.read_rows(folder / "frames.parquet", Frame)
    return {one.id: (one, images.read_gray(sources.root_of(folder) / one.lwir)) for one in read}


def rows_of(dataset: Dataset, mode: str) -> list[dict]:
    return [row for row in dataset.index.to_pylist() if row["start"] == mode]


def gray(dataset: Dataset, row: dict) -> np.ndarray:
    with Image.open(io.BytesIO(image_of(dataset.place, row))) as image:
        return np.asarray(image.convert("L"), np.float64)


def test_images_of_both_modes_are_labelled_as_such(dataset):
    inherited, inserted = rows_of(dataset, "inherit"), rows_of(dataset, INSERT)
    assert inherited and inserted and len(inherited) + len(inserted) == STARTS["images"]
    for row in (*inherited, *inserted):
        assert row["label_mode"] == row["start"]
        assert {box["source"] for box in row["boxes"]} <= {row["start"], "teacher"}
    assert all(any(box["source"] == INSERT for box in row["boxes"]) for row in inserted)


def test_an_inherited_image_has_its_frames_caption_and_looks_like_it(user, dataset, frames):
    folder = store.latest(user.folder / "data" / "tiny" / "02-captions").folder
    captions = {one.frame_id: one.caption for one in records.read_rows(folder / "captions.parquet", Caption)}
    rows = rows_of(dataset, "inherit")
    for row in rows:
        assert row["caption"] == captions[row["start_frame"]]
        frame, _ = frames[row["start_frame"]]
        assert frame.split == "train" and len(json.loads(row["start_boxes"])) == len(frame.boxes)
    own = [likeness(gray(dataset, row), frames[row["start_frame"]][1]) for row in rows]
    shifted = [
        likeness(gray(dataset, row), frames[one["start_frame"]][1])
        for row, one in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    assert min(own) > 0.8 and np.mean(own) > np.mean(shifted) + 0.1


def test_an_insertion_changes_its_place_and_nothing_else(dataset, frames):
    for row in rows_of(dataset, INSERT):
        frame, real = frames[row["start_frame"]]
        assert not any(box.label in ("person", "cyclist") for box in frame.boxes)
        image, box = gray(dataset, row), json.loads(row["start_boxes"])[-1]
        height, width = image.shape
        drawn = np.zeros(image.shape, bool)
        # Cells of the latent are 4 px wide, and the decoder sees some of those beside it.
        x, y = MARGIN * box["w_px"] * width + 12, MARGIN * box["h_px"] * height + 12
        left, top = box["x_px"] * width, box["y_px"] * height
        right, bottom = left + box["w_px"] * width, top + box["h_px"] * height
        drawn[int(max(0, top - y)) : int(bottom + y), int(max(0, left - x)) : int(right + x)] = True
        assert np.abs(image - real)[~drawn].mean() < 6


def test_its_captions_tell_who_was_inserted(dataset):
    for row in rows_of(dataset, INSERT):
        label = json.loads(row["start_boxes"])[-1]["label"]
        assert label in row["caption"], row["caption"]


def test_every_kept_image_can_be_made_again(user, dataset):
    user.run("verify", "data/tiny")
    for mode in ("inherit", INSERT):
        assert "every byte the same" in user.run("regenerate", "data/tiny", rows_of(dataset, mode)[0]["key"])


def likeness(image: np.ndarray, frame: np.ndarray) -> float:
    return float(np.corrcoef(image.ravel(), frame.astype(np.float64).ravel())[0, 1])
