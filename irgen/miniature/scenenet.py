"""A small feature net for distances between sets of images, without a download.

It was taught, on procedural scenes only, to tell the modality (visible, grayscale, thermal, inverted), time, place, how
many of what stand where, and a coarse map of the objects. Its distances compare sets of the miniature with each other
and with nothing published.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 128
INPUT_PX = (80, 96)
WIDTHS = (24, 48, 96, 128)
WEIGHTS = Path(__file__).parent / "weights" / "scenenet" / "scenenet.safetensors"


class SceneNet(nn.Module):
    """Float images [B, 3, H, W] in 0..1, of any size -> float32 features [B, 128], about unit variance each."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2), nn.SiLU()]
        for before, after in pairwise(WIDTHS):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        # Which side things stand on is part of a scene, so the pooling keeps 2 x 3 regions.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(6 * WIDTHS[-1], FEATURES))
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def maps(self, image: Tensor) -> Tensor:
        """Return feature maps [B, 128, 5, 6]."""
        if tuple(image.shape[-2:]) != INPUT_PX:
            image = F.interpolate(image, INPUT_PX, mode="bilinear", antialias=True, align_corners=False)
        maps: Tensor = self.trunk(image * 4 - 2)
        return maps

    def raw(self, maps: Tensor) -> Tensor:
        """Return features [B, 128] before they are scaled."""
        pooled: Tensor = self.pool(maps)
        return pooled

    def forward(self, image: Tensor) -> Tensor:
        """Return the scaled features."""
        return (self.raw(self.maps(image.float())) - self.mean) / self.deviation


def load() -> SceneNet:
    """Return the shipped net, frozen and in evaluation mode."""
    net = SceneNet()
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return net.eval().requires_grad_(False)
