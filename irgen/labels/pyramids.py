"""Feature pyramids for one gray channel: a small convolutional net, or any backbone of timm."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from irgen.errors import SettingsError

SMALL = "small"
SMALL_WIDTHS = (24, 48, 64)
"""Channels of the small net at strides 2, 4, and from 8 on."""

LEVELS = 3


class Pyramid(nn.Module):
    """A backbone with a feature pyramid (arXiv 1612.03144) on top.

    Attributes:
        out_channels: of every level.
        strides: of the levels, in pixels.
    """

    def __init__(self, body: nn.Module, channels: list[int], strides: list[int], out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(channels, out_channels)
        self.out_channels = out_channels
        self.strides = strides

    def forward(self, pixels: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """Turn float [B, 1, H, W] into maps, float [B, out_channels, H / stride, W / stride], finest first."""
        maps = self.body(pixels)
        return self.fpn(OrderedDict((str(level), one) for level, one in enumerate(maps)))


class _Small(nn.Module):
    """Maps at strides 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = SMALL_WIDTHS
        self.fine = nn.Sequential(
            _convolution(1, half, 2, side=5),
            _convolution(half, quarter, 2),
            _Residual(quarter),
            _Residual(quarter),
        )
        self.middle = nn.Sequential(_convolution(quarter, eighth, 2), _Residual(eighth))
        self.coarse = nn.Sequential(_convolution(eighth, eighth, 2), _Residual(eighth))

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        fine = self.fine(pixels)
        middle = self.middle(fine)
        return [fine, middle, self.coarse(middle)]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(self.first(x)))


def _convolution(inside: int, outside: int, stride: int, side: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, side, stride, side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def build(backbone: str, out_channels: int) -> Pyramid:
    """Build a pyramid of three levels, the finest at stride 4.

    Args:
        backbone: `small`, or the name of a backbone of timm, with untrained weights.
        out_channels: of every level.

    Raises:
        SettingsError: timm has no such backbone, or none of its maps has stride 4.
    """
    if backbone == SMALL:
        _, quarter, eighth = SMALL_WIDTHS
        return Pyramid(_Small(), [quarter, eighth, eighth], [4, 8, 16], out_channels)
    import timm  # takes seconds, and the small net does without

    try:
        body: Any = timm.create_model(backbone, features_only=True, in_chans=1, pretrained=False)
    except RuntimeError as error:
        raise SettingsError(f"backbone = {backbone!r}: {error}", "`small`, or one of timm.list_models().") from error
    info = body.feature_info
    chosen = [number for number, stride in enumerate(info.reduction()) if stride >= 4][:LEVELS]
    if not chosen or info.reduction()[chosen[0]] != 4:
        raise SettingsError(f"backbone = {backbone!r}: none of its maps has stride 4", "Take a convolutional one.")
    body = timm.create_model(backbone, features_only=True, in_chans=1, pretrained=False, out_indices=chosen)
    return Pyramid(body, body.feature_info.channels(), body.feature_info.reduction(), out_channels)
