"""A feature net of random convolutions that no search could have been taught to please.

An untaught net of this kind still tells textures, contrast and brightness apart. As it comes, its activations fade from
layer to layer until every distance is 0.000; so each layer's channels, and the features, are scaled to zero mean and
unit deviation over a fixed set of random fields with the spectrum of natural images (amplitude 1 / frequency).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from irgen import seeds

SIZE_PX = (128, 128)
WIDTHS = (3, 32, 64, 128, 128)
FEATURES = 2 * WIDTHS[-1]
FIELDS = 128


class RandomConv(nn.Module):
    """Float images [B, 3, H, W] in 0..1 -> float32 features [B, 256]: means and deviations of the last maps."""

    def __init__(self) -> None:
        super().__init__()
        rng = seeds.generator(0, "random-conv", "weights")
        self.kernels = nn.ParameterList(
            torch.from_numpy(rng.standard_normal((after, before, 3, 3), np.float32)) / (9 * before) ** 0.5
            for before, after in pairwise(WIDTHS)
        ).requires_grad_(False)
        self.scales: list[tuple[Tensor, Tensor]] = []
        self._calibrate(torch.from_numpy(fields()))

    def forward(self, image: Tensor) -> Tensor:
        """Return the features."""
        maps = image.float()
        for kernel, (mean, deviation) in zip(self.kernels, self.scales[:-1], strict=True):
            maps = F.relu((_convolved(maps, kernel) - mean.to(maps)) / deviation.to(maps))
        mean, deviation = self.scales[-1]
        return (_pooled(maps) - mean.to(maps)) / deviation.to(maps)

    @torch.inference_mode()
    def _calibrate(self, maps: Tensor) -> None:
        for kernel in self.kernels:
            maps = _convolved(maps, kernel)
            mean = maps.mean((0, 2, 3), keepdim=True)
            self.scales.append((mean, maps.std((0, 2, 3), keepdim=True)))
            maps = F.relu((maps - mean) / self.scales[-1][1])
        pooled = _pooled(maps)
        # A map that no field lights up has no deviation; it shall not blow rounding up.
        self.scales.append((pooled.mean(0), pooled.std(0).clamp(min=1e-3)))


def fields() -> NDArray[np.float32]:
    """Return the gray calibration fields, float32 [128, 3, 128, 128] in 0..1, of many brightnesses and contrasts."""
    rng = seeds.generator(0, "random-conv", "fields")
    height_px, width_px = SIZE_PX[1], SIZE_PX[0]
    frequency = np.hypot(np.fft.fftfreq(height_px)[:, None], np.fft.rfftfreq(width_px))
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((FIELDS, height_px, width_px))
    field = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height_px, width_px))
    field /= field.std(axis=(1, 2), keepdims=True)
    brightness = rng.uniform(0.1, 0.9, (FIELDS, 1, 1))
    contrast = rng.uniform(0.03, 0.25, (FIELDS, 1, 1))
    gray = (brightness + contrast * field).clip(0, 1).astype(np.float32)
    return np.repeat(gray[:, None], 3, axis=1)


def _convolved(maps: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(maps, kernel, stride=2, padding=1)


def _pooled(maps: Tensor) -> Tensor:
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3))], 1)
