from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from irgen.labels import learning
from irgen.labels.learning import Ending, paint_over
from irgen.settings import DetectorSettings
from tests.labels.making import true


def test_what_is_to_be_ignored_is_painted_over_but_not_the_object_before_it() -> None:
    image = np.full((32, 48), 100, np.uint8)
    image[:, 10:20] = 200
    painted = paint_over(image, [true(10, 0, 10, 32, label="people", ignore=True), true(12, 4, 4, 8)])
    assert (painted[4:12, 12:16] == 200).all()
    assert (painted[20:, 10:20] == round(float(image.mean()))).all()
    assert (painted[:, :10] == 100).all() and (image[:, 10:20] == 200).all()
    assert paint_over(image, [true(12)]) is image


def test_every_image_is_seen_equally_often() -> None:
    settings = DetectorSettings(batch_size=4, steps=6)
    drawn = [one for step in range(6) for one in learning._chosen(8, settings, step)]
    assert sorted(drawn[:8]) == sorted(drawn[8:16]) == list(range(8)) and drawn[:8] != drawn[8:16]


class Recorder:
    """A learner that notes how bright the images of each step are."""

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1)
        self.bright: list[list[bool]] = []

    def loss(self, pixels: torch.Tensor, targets: Sequence[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
        self.bright.append((pixels.mean((1, 2)) > 0.5).tolist())
        return self.network.weight.sum()


def test_the_last_steps_see_the_first_images_alone() -> None:
    images = np.full((12, 16, 16), 230, np.uint8)
    images[:3] = 20
    recorder = Recorder()
    settings = DetectorSettings(batch_size=4, steps=10)
    learning.learn(recorder, images, [[]] * 12, [], settings, "", ending=Ending(images=3, share=0.4))
    assert [any(step) for step in recorder.bright] == [True] * 6 + [False] * 4


def test_a_box_stays_on_its_object_however_an_image_is_varied() -> None:
    image = np.zeros((32, 48), np.uint8)
    image[10:22, 8:20] = 255
    for position in range(30):
        pixels, boxes, labels = learning._varied(image, np.array([[8.0, 10, 20, 22]]), np.array([1]), 0, position)
        assert pixels.dtype == np.float32 and pixels.min() >= 0 and pixels.max() <= 1
        rows, columns = np.nonzero(pixels > 0.5)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(boxes[0] - seen).max() <= 1.5 and labels.tolist() == [1]


def test_images_are_spoilt_as_generated_ones_are_each_otherwise() -> None:
    image = np.random.default_rng(0).uniform(0.1, 0.6, (32, 48)).astype(np.float32)
    spoilt = [learning._spoilt(image, 0, position) for position in range(40)]
    assert all(one.dtype == np.float32 and one.min() >= 0 and one.max() <= 1 for one in spoilt)
    detail = np.array([np.abs(np.diff(one)).mean() for one in spoilt]) / np.abs(np.diff(image)).mean()
    assert (detail < 0.4).sum() > 5 and (detail > 0.8).sum() > 5
    assert np.array_equal(spoilt[3], learning._spoilt(image, 0, 3))
    assert not np.array_equal(spoilt[3], learning._spoilt(image, 1, 3))
