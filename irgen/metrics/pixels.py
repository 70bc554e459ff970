"""What no network says of an image: grey levels, saturation, colour, and how far warm bodies stand out.

All take uint8 images. None says what is good: a report compares sets of generated images with real ones.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from irgen.errors import IrgenError
from irgen.metrics.frechet import F64

U8 = NDArray[np.uint8]
LEVELS = 256
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, as `irgen.images.read_gray`."""

RING = 0.5
"""Width of the ring around a box, as a share of the box's width and height."""


class Pixels(NamedTuple):
    """Figures of one image.

    Attributes:
        brightness: mean grey level, 0..255.
        contrast: standard deviation of the grey levels.
        saturated: share of pixels at the lowest or the highest level, 0..1: what gain control has cut off.
        colour: largest difference of two channels at any pixel, in grey levels; 0 where R = G = B, as in infrared.
    """

    brightness: float
    contrast: float
    saturated: float
    colour: float


class Placed(Protocol):
    """A box on an image: left and top edge and extent, in pixels."""

    @property
    def x_px(self) -> float: ...  # noqa: D102

    @property
    def y_px(self) -> float: ...  # noqa: D102

    @property
    def w_px(self) -> float: ...  # noqa: D102

    @property
    def h_px(self) -> float: ...  # noqa: D102


def luma(image: U8) -> U8:
    """Return the grey levels, uint8 [H, W], of an image [H, W] or [H, W, 3]."""
    return image if image.ndim == 2 else np.round(image @ LUMA).astype(np.uint8)


def pixels(image: U8) -> Pixels:
    """Measure one image, uint8 [H, W, 3]."""
    grey = luma(image)
    ends = np.count_nonzero((grey == 0) | (grey == LEVELS - 1)) / grey.size
    channels = image.astype(np.int16)
    colour = (channels.max(axis=2) - channels.min(axis=2)).max()
    return Pixels(float(grey.mean()), float(grey.std()), float(ends), float(colour))


def histogram(image: U8) -> F64:
    """Return the share of pixels at each grey level, float64 [256]."""
    grey = luma(image)
    return np.bincount(grey.ravel(), minlength=LEVELS) / grey.size


def histogram_distance(one: F64, other: F64) -> float:
    """Return the Wasserstein-1 distance of two histograms [256], in grey levels: 0 of equal ones, at most 255.

    Raises:
        IrgenError: a histogram does not add up to 1.
    """
    for each in (one, other):
        if not np.isclose(each.sum(), 1):
            raise IrgenError(f"a histogram adds up to {each.sum():.3g}, not to 1", "Give shares of pixels.")
    return float(np.abs(np.cumsum(one - other)).sum())


def box_contrast(image: U8, box: Placed) -> float:
    """Return the mean grey level inside a box less the median of the ring around it; NaN where one has no pixel.

    Above 0 the body is warmer than what is around it, as people are at night; by day pavement may be the warmer one.
    """
    grey = luma(image).astype(np.float64)
    height, width = grey.shape

    def window(margin: float) -> tuple[slice, slice]:
        dx, dy = margin * box.w_px, margin * box.h_px
        left, top = max(0, round(box.x_px - dx)), max(0, round(box.y_px - dy))
        right, bottom = round(box.x_px + box.w_px + dx), round(box.y_px + box.h_px + dy)
        return slice(top, max(top, min(height, bottom))), slice(left, max(left, min(width, right)))

    inside, around = window(0), window(RING)
    ring = np.zeros(grey.shape, bool)
    ring[around] = True
    ring[inside] = False
    if grey[inside].size == 0 or not ring.any():
        return float("nan")
    return float(grey[inside].mean() - np.median(grey[ring]))
