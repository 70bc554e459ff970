"""Detectors of torchvision over a gray feature pyramid: FCOS and Faster R-CNN.

Both take a list of float [1, H, W] in 0..1 and, in training, of targets; see torchvision.models.detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import MultiScaleRoIAlign

from irgen.labels import pyramids

if TYPE_CHECKING:
    from irgen.settings import DetectorSettings

MEAN, SD = [0.25], [0.2]
"""Of gray levels, 0 to 1; LWIR after gain control is dark."""

LEAST_SCORE = 0.02
MOST_BOXES = 60
OVERLAP = 0.5
"""IoU above which the less sure of two boxes of a class goes."""
HEAD_CONVOLUTIONS = 2

ANCHOR_STRIDES = (2.0, 3.0)
"""Sides of the squares that regions are told from, in strides of their level."""
HEIGHTS_OVER_WIDTHS = (0.6, 1.2, 2.4)
"""Of anchors: cars, cyclists, persons."""
REGION_CELLS = 5
"""Each region is pooled to so many cells a side."""
REGION_FEATURES = 128
REGION_PX = 32
"""Side of the regions that are looked up at stride 8; those half as large at stride 4."""


class Convolutional:
    """The network, with its loss and what it finds; its class 0 is the background.

    Args:
        settings: architecture, backbone, channels and scale.
        classes: how many; background is none of them.
        height_px: of the images.
        width_px: of the images.
    """

    def __init__(self, settings: DetectorSettings, classes: int, height_px: int, width_px: int) -> None:
        self.network = _build(settings, classes, height_px, width_px)

    def loss(self, pixels: torch.Tensor, targets: Sequence[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
        """See `learning.Learner`."""
        asked = [
            {
                "boxes": torch.from_numpy(corner_px).reshape(-1, 4).to(pixels.device),
                "labels": torch.from_numpy(labels).to(pixels.device) + 1,
            }
            for corner_px, labels in targets
        ]
        losses = self.network(list(pixels[:, None]), asked)
        return torch.stack(list(losses.values())).sum()

    def found(self, pixels: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """See `detectors.Network`."""
        return [
            (one["boxes"].cpu().numpy(), one["labels"].cpu().numpy() - 1, one["scores"].double().cpu().numpy())
            for one in self.network(list(pixels[:, None]))
        ]


def _build(settings: DetectorSettings, classes: int, height_px: int, width_px: int) -> nn.Module:
    pyramid = pyramids.build(settings.backbone, settings.channels)
    size = {
        "min_size": round(min(height_px, width_px) * settings.scale),
        "max_size": round(max(height_px, width_px) * settings.scale),
        "image_mean": MEAN,
        "image_std": SD,
        "size_divisible": max(pyramid.strides),
    }
    make = _fcos if settings.architecture == "fcos" else _faster_rcnn
    return make(pyramid, classes, size)


def _fcos(pyramid: pyramids.Pyramid, classes: int, size: dict[str, Any]) -> FCOS:
    return FCOS(
        pyramid,
        classes + 1,
        anchor_generator=AnchorGenerator(tuple((one,) for one in pyramid.strides), ((1.0,),) * len(pyramid.strides)),
        head=FCOSHead(pyramid.out_channels, 1, classes + 1, num_convs=HEAD_CONVOLUTIONS),
        score_thresh=LEAST_SCORE,
        nms_thresh=OVERLAP,
        detections_per_img=MOST_BOXES,
        **size,
    )


def _faster_rcnn(pyramid: pyramids.Pyramid, classes: int, size: dict[str, Any]) -> FasterRCNN:
    sides = tuple(tuple(round(stride * side) for side in ANCHOR_STRIDES) for stride in pyramid.strides)
    names = [str(level) for level in range(len(sides))]
    return FasterRCNN(
        pyramid,
        rpn_anchor_generator=AnchorGenerator(sides, (HEIGHTS_OVER_WIDTHS,) * len(sides)),
        rpn_pre_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=100,
        rpn_post_nms_top_n_test=60,
        rpn_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(names, REGION_CELLS, 2, canonical_scale=REGION_PX, canonical_level=3),
        box_head=TwoMLPHead(pyramid.out_channels * REGION_CELLS**2, REGION_FEATURES),
        box_predictor=FastRCNNPredictor(REGION_FEATURES, classes + 1),
        box_score_thresh=LEAST_SCORE,
        box_nms_thresh=OVERLAP,
        box_detections_per_img=MOST_BOXES,
        box_batch_size_per_image=32,
        **size,
    )
