"""RT-DETR (arXiv 2304.08069) of transformers, small: its boxes are a set, which attention settles among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

from irgen.labels.convolutional import LEAST_SCORE, MEAN, SD

if TYPE_CHECKING:
    from irgen.settings import DetectorSettings

STRIDES = (4, 8, 16)
BACKBONE_WIDTHS = (32, 64, 64, 96)
HEADS = 4
QUERIES = 40
NOISED_BOXES = 20
"""Of the denoising training (section 4.2 of arXiv 2203.03605), an image."""
DECODER_LAYERS = 2


class Transformer:
    """The network, with its loss and what it finds.

    Args:
        settings: channels of the transformer and scale.
        classes: how many.
        height_px: of the images.
        width_px: of the images.
    """

    def __init__(self, settings: DetectorSettings, classes: int, height_px: int, width_px: int) -> None:
        self._size_px = (height_px, width_px)
        self._scaled_px = [round(side * settings.scale / STRIDES[-1]) * STRIDES[-1] for side in self._size_px]
        self.network = RTDetrForObjectDetection(_config(settings.channels, classes))

    def loss(self, pixels: torch.Tensor, targets: Sequence[tuple[np.ndarray, np.ndarray]]) -> torch.Tensor:
        """See `learning.Learner`."""
        height, width = self._size_px
        asked = []
        for corner_px, labels in targets:
            x0, y0, x1, y1 = corner_px.reshape(-1, 4).T / np.array([[width], [height], [width], [height]])
            boxes = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1).astype(np.float32)
            asked.append(
                {
                    "class_labels": torch.from_numpy(labels).to(pixels.device),
                    "boxes": torch.from_numpy(boxes).to(pixels.device),
                }
            )
        return self.network(pixel_values=self._prepared(pixels), labels=asked).loss

    def found(self, pixels: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """See `detectors.Network`."""
        outputs = self.network(pixel_values=self._prepared(pixels))
        scores, numbers = outputs.logits.double().sigmoid().max(-1)
        height, width = self._size_px
        centre, extent = outputs.pred_boxes.chunk(2, -1)
        scale = torch.tensor([width, height, width, height], device=pixels.device)
        corner_px = torch.cat([centre - extent / 2, centre + extent / 2], -1) * scale
        return [
            (box[keep].cpu().numpy(), number[keep].cpu().numpy(), score[keep].cpu().numpy())
            for box, number, score in zip(corner_px, numbers, scores, strict=True)
            for keep in [score >= LEAST_SCORE]
        ]

    def _prepared(self, pixels: torch.Tensor) -> torch.Tensor:
        if list(pixels.shape[1:]) != self._scaled_px:
            pixels = torch.nn.functional.interpolate(pixels[:, None], self._scaled_px, mode="bilinear")[:, 0]
        return (pixels[:, None] - MEAN[0]) / SD[0]


def _config(channels: int, classes: int) -> RTDetrConfig:
    backbone = RTDetrResNetConfig(
        num_channels=1,
        embedding_size=BACKBONE_WIDTHS[0],
        hidden_sizes=list(BACKBONE_WIDTHS),
        depths=[1, 2, 1, 1],
        layer_type="basic",
        out_indices=[1, 2, 3],
    )
    shared: dict[str, Any] = {
        "encoder_hidden_dim": channels,
        "d_model": channels,
        "decoder_in_channels": [channels] * len(STRIDES),
        "encoder_ffn_dim": 2 * channels,
        "decoder_ffn_dim": 2 * channels,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
    }
    return RTDetrConfig(
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,
        encoder_in_channels=list(BACKBONE_WIDTHS[: len(STRIDES)]),
        feat_strides=list(STRIDES),
        hidden_expansion=0.5,
        num_queries=QUERIES,
        num_denoising=NOISED_BOXES,
        decoder_layers=DECODER_LAYERS,
        num_labels=classes,
        **shared,
    )
