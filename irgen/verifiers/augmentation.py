"""Changes to training images that change neither what they show nor whether they are real.

They keep the verifier from learning a camera's gain, its sharpness or a file's compression in place of what makes an
image infrared. Real images and negatives are treated alike. Nothing is mirrored: captions say left and right.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

GAIN, OFFSET, NOISE = 0.15, 0.05, 0.02
SMALLEST_CROP = 0.9


def augment(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Return float32 [B, 3, h, w] in 0..1 with other crops, sharpness, gain and noise, a draw an image."""
    count, device = len(pixels), pixels.device

    def draws(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, *shape)).astype(np.float32)).to(device)

    pixels = _cropped(pixels, draws(SMALLEST_CROP, 1), draws(-1, 1, 2))
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pixels = torch.lerp(pixels, blurred, draws(0, 1, 1, 1, 1))
    pixels = pixels * draws(1 - GAIN, 1 + GAIN, 1, 1, 1) + draws(-OFFSET, OFFSET, 1, 1, 1)
    noise = torch.from_numpy(rng.standard_normal((count, 1, *pixels.shape[2:]), np.float32)).to(device)
    return (pixels + noise * draws(0, NOISE, 1, 1, 1)).clamp(0, 1)


def _cropped(pixels: torch.Tensor, share: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Cut out windows of `share` [B] of the extent, at `position` [B, 2] (-1..1 from border to border)."""
    matrices = torch.zeros(len(pixels), 2, 3, device=pixels.device)
    matrices[:, 0, 0] = matrices[:, 1, 1] = share
    matrices[:, :, 2] = position * (1 - share)[:, None]
    grid = F.affine_grid(matrices, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
