"""What agreement needs of a detector, and any object detector of transformers as one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from irgen.captions.rules import NOUNS
from irgen.errors import WeightsError
from irgen.records import Box
from irgen.verifiers import weights
from irgen.verifiers.batches import in_fixed_batches, rows_per_forward

IMAGES_PER_FORWARD = 4


@dataclass(frozen=True, slots=True)
class Detection:
    """One found object: box in the image's pixels, class as irgen spells it, confidence from 0 to 1."""

    box: Box
    confidence: float


class Detector(Protocol):
    """Images to boxes; what it finds in one image does not depend on the others."""

    @property
    def classes(self) -> Collection[str]:
        """Names of what it knows."""
        ...

    def detect(self, images: np.ndarray) -> list[list[Detection]]:
        """Find objects in uint8 [B, H, W, 3], a list each."""
        ...


class TransformersDetector:
    """A detector in the transformers format (DETR, RT-DETR, YOLOS, ...), best one that was finetuned on real LWIR.

    Args:
        model: its network; `id2label` of its configuration names the classes as irgen does.
        processor: its image processor.
        confidence: detections under it are dropped.
    """

    def __init__(self, model: Any, processor: Any, confidence: float) -> None:
        self._model = model
        self._processor = processor
        self._confidence = confidence

    @property
    def classes(self) -> Collection[str]:
        """Names of what it knows."""
        return set(self._model.config.id2label.values())

    @classmethod
    def load(cls, model: str, confidence: float) -> TransformersDetector:
        """Load a detector: hub id or folder.

        Raises:
            WeightsError: it is not to be had, has no safetensors weights, or knows no class that captions tell.
        """
        network = weights.pretrained(AutoModelForObjectDetection, model, "agreement.detector")
        labels = sorted(set(network.config.id2label.values()))
        if not set(labels) & set(NOUNS):
            raise WeightsError(
                f"agreement.detector = {model}: knows none of {', '.join(NOUNS)}; its classes are {', '.join(labels)}",
                "Rename the classes in id2label of its config.json, or give another detector.",
            )
        return cls(network, weights.pretrained(AutoImageProcessor, model, "agreement.detector"), confidence)

    @torch.inference_mode()
    def detect(self, images: np.ndarray) -> list[list[Detection]]:
        """Find objects in uint8 [B, H, W, 3], a list each; classes of other names come through, too."""
        pixels = weights.pixels(self._processor, images)
        rows = in_fixed_batches(self._logits_and_boxes, rows_per_forward(IMAGES_PER_FORWARD), pixels)
        outputs = SimpleNamespace(logits=rows[..., :-4], pred_boxes=rows[..., -4:])
        sizes = [images.shape[1:3]] * len(images)
        found = self._processor.post_process_object_detection(outputs, self._confidence, sizes)
        return [self._detections(one) for one in found]

    def _logits_and_boxes(self, pixels: torch.Tensor) -> torch.Tensor:
        outputs = self._model(pixel_values=pixels)
        return torch.cat([outputs.logits, outputs.pred_boxes], dim=-1)

    def _detections(self, found: Any) -> list[Detection]:
        names = self._model.config.id2label
        rows = zip(found["labels"].tolist(), found["boxes"].tolist(), found["scores"].tolist(), strict=True)
        return [
            Detection(Box(names[label], left, top, right - left, bottom - top), confidence)
            for label, (left, top, right, bottom), confidence in rows
        ]
