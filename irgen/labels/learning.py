"""Training of a detector: batches drawn and varied by seed, AdamW, one cycle of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from irgen import progress, seeds
from irgen.errors import WeightsError
from irgen.labels.boxes import corners
from irgen.records import Box

if TYPE_CHECKING:
    from irgen.settings import DetectorSettings

MAX_GRADIENT_NORM = 5.0
WARM_UP = 0.1
"""Share of the steps until the learning rate is at its peak; then it falls as a cosine."""

GAIN, OFFSET, GAMMA = 0.25, 0.06, 0.25
"""Half widths of the random change of contrast and brightness, and of the logarithm of gamma."""
NOISE = 0.03
"""Greatest standard deviation of added noise, gray levels 0 to 1."""
ZOOM = 0.2
"""An image is enlarged by up to this share, about a random place."""
BLURRED, BLUR_PX = 0.5, 1.3
"""Share of the images that are blurred, and the greatest standard deviation: generated images are seldom sharp."""
CONTRAST = 0.5
"""Half width of the logarithm of a change of contrast about the image's mean."""
BLOTCHES, BLOTCH_PX = 0.05, 1.2
"""Greatest standard deviation of added blotches, gray levels 0 to 1, and of the blur that makes them of noise."""
LEAST_SEEN = 0.4
"""A box that a zoom leaves less of is left out."""


@dataclass(frozen=True)
class Ending:
    """How a training ends: on some of the images alone.

    Attributes:
        images: so many, the first ones.
        share: of the steps, the last ones; 0 to 1.
    """

    images: int
    share: float


class Learner(Protocol):
    """A network with its loss."""

    network: nn.Module

    def loss(self, pixels: torch.Tensor, targets: Sequence[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
        """Return the loss of float32 [B, H, W] in 0..1, each with boxes [n, 4] as x0 y0 x1 y1 px and classes [n]."""
        ...


def learn(
    learner: Learner,
    images: np.ndarray,
    boxes: Sequence[Sequence[Box]],
    classes: Sequence[str],
    settings: DetectorSettings,
    description: str,
    bar: progress.Bar = progress.bar,
    ending: Ending | None = None,
) -> None:
    """Train for `settings.steps` steps.

    Args:
        learner: trained in place.
        images: uint8 [N, H, W].
        boxes: of each image, all of `classes`; what is to be ignored is painted over.
        classes: names, in the order of their numbers.
        settings: steps, batch size, learning rate and seed.
        description: of the progress bar.
        bar: shows how many steps are done.
        ending: on which images it ends; none: on all of them.

    Raises:
        WeightsError: the loss is not finite.
    """
    device = next(learner.network.parameters()).device
    painted = np.stack([paint_over(image, own) for image, own in zip(images, boxes, strict=True)])
    numbers = {name: number for number, name in enumerate(classes)}
    trusted = [[box for box in own if not box.ignore] for own in boxes]
    corner_px = [corners(own) for own in trusted]
    labels = [np.array([numbers[box.label] for box in own], np.int64) for own in trusted]
    optimizer = torch.optim.AdamW(learner.network.parameters(), settings.learning_rate, weight_decay=1e-2)
    learner.network.train()
    with bar(description, settings.steps) as advance:
        for step in range(settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _schedule((step + 0.5) / settings.steps)
            drawn = [
                _varied(painted[one], corner_px[one], labels[one], settings.seed, step * settings.batch_size + place)
                for place, one in enumerate(_chosen(_seen(len(images), settings, step, ending), settings, step))
            ]
            pixels = torch.from_numpy(np.stack([one[0] for one in drawn])).to(device)
            loss = learner.loss(pixels, [one[1:] for one in drawn])
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(learner.network.parameters(), MAX_GRADIENT_NORM)
            if not math.isfinite(loss.item() + norm.item()):
                raise WeightsError(
                    f"{description}: not finite at step {step} of {settings.steps}",
                    f"Lower its learning_rate (now {settings.learning_rate:g}).",
                )
            optimizer.step()
            advance(1)
    learner.network.eval()


def paint_over(image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Replace what lies in an ignore box, and in no other, by the image's mean: uint8 [H, W].

    So nothing there is learnt, neither as an object nor as background, by any architecture.
    """
    if not any(box.ignore for box in boxes):
        return image
    covered, kept = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    for box in boxes:
        rows = slice(max(0, math.floor(box.y_px)), math.ceil(box.y_px + box.h_px))
        columns = slice(max(0, math.floor(box.x_px)), math.ceil(box.x_px + box.w_px))
        (covered if box.ignore else kept)[rows, columns] = True
    return np.where(covered & ~kept, np.uint8(round(float(image.mean()))), image)


def _seen(count: int, settings: DetectorSettings, step: int, ending: Ending | None) -> int:
    """Return of how many images, the first ones, a step takes its own."""
    return ending.images if ending and step >= round((1 - ending.share) * settings.steps) else count


def _chosen(count: int, settings: DetectorSettings, step: int) -> list[int]:
    """Return the images of a step: in rounds, each in its own order."""
    positions = range(step * settings.batch_size, (step + 1) * settings.batch_size)
    rounds = {position // count for position in positions}
    orders = {one: seeds.generator(settings.seed, one, "detector-order").permutation(count) for one in rounds}
    return [int(orders[position // count][position % count]) for position in positions]


def _schedule(done: float) -> float:
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))


def _varied(
    image: np.ndarray, corner_px: np.ndarray, labels: np.ndarray, seed: int, position: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mirror, zoom, spoil and change the gain of one image: float32 [H, W] in 0..1, its boxes and their classes."""
    random = seeds.generator(seed, position, "detector-example")
    flip, zoom, across, down, gain, offset, gamma, noise = random.random(8)
    height, width = image.shape
    pixels = image.astype(np.float32) / 255
    boxes = corner_px.copy()
    if flip < 0.5:
        pixels = pixels[:, ::-1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    factor = 1 + ZOOM * zoom
    left, top = across * (width - width / factor), down * (height - height / factor)
    pixels = _cut_out(pixels, left, top, factor)
    boxes = (boxes - [left, top, left, top]) * factor
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    boxes = boxes.clip(0, [width, height, width, height])
    seen = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) > LEAST_SEEN * area
    pixels = np.clip(pixels, 1e-6, 1) ** np.exp(GAMMA * (2 * gamma - 1))
    pixels = pixels * (1 + GAIN * (2 * gain - 1)) + OFFSET * (2 * offset - 1)
    pixels = pixels + NOISE * noise * random.standard_normal(pixels.shape, dtype=np.float32)
    pixels = _spoilt(pixels.clip(0, 1).astype(np.float32), seed, position)
    return pixels, boxes[seen].astype(np.float32), labels[seen]


def _spoilt(pixels: np.ndarray, seed: int, position: int) -> np.ndarray:
    """Give a real image, float32 [H, W] in 0..1, what generated ones suffer from: blur, other contrasts, blotches."""
    random = seeds.generator(seed, position, "detector-blur")
    blurred, blur, contrast, blotched = random.random(4)
    if blurred < BLURRED:
        pixels = gaussian_filter(pixels, BLUR_PX * blur)
    mean = pixels.mean()
    pixels = np.clip(mean + (pixels - mean) * np.exp(CONTRAST * (2 * contrast - 1)), 0, 1)
    blotches = gaussian_filter(random.standard_normal(pixels.shape), BLOTCH_PX)
    return np.clip(pixels + BLOTCHES * blotched * blotches / blotches.std(), 0, 1).astype(np.float32)


def _cut_out(pixels: np.ndarray, left: float, top: float, factor: float) -> np.ndarray:
    """Enlarge float32 [H, W] about a place, bilinear, keeping its size."""
    height, width = pixels.shape
    y = torch.linspace(top, top + (height - 1) / factor, height) * (2 / (height - 1)) - 1
    x = torch.linspace(left, left + (width - 1) / factor, width) * (2 / (width - 1)) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    source = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    return nn.functional.grid_sample(source, grid, align_corners=True, padding_mode="border")[0, 0].numpy()
