"""A classifier's logit of the caption's class: DINO's linear ImageNet head (arXiv 2501.09732, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from irgen.search.interface import Scores
from irgen.settings import DinoClassChoice
from irgen.verifiers import weights
from irgen.verifiers.batches import check_pairs, in_fixed_batches, rows_per_forward
from irgen.verifiers.classes import ClassNames
from irgen.verifiers.zero_shot import of_class

IMAGES_PER_FORWARD = 8


class DinoClass:
    """Scores the logit of the class that the caption names, among those of the classifier's configuration.

    Args:
        model: a transformers image classifier, e.g. `Dinov2ForImageClassification`.
        processor: its image processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor
        labels = model.config.id2label
        self._classes = ClassNames([labels[index] for index in range(len(labels))])

    @classmethod
    def load(cls, choice: DinoClassChoice) -> DinoClass:
        """Load what the settings name.

        Raises:
            WeightsError: it is not to be had, has no safetensors weights, or is no classifier.
        """
        processor = weights.pretrained(AutoImageProcessor, choice.model, "dino_class.model")
        return cls(weights.pretrained(AutoModelForImageClassification, choice.model, "dino_class.model"), processor)

    @torch.inference_mode()
    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3]; NaN, with the reason, where a caption names no class."""
        check_pairs(images, captions)
        pixels = weights.pixels(self._processor, images)
        batch_size = rows_per_forward(IMAGES_PER_FORWARD)
        logits = in_fixed_batches(lambda batch: self._model(pixel_values=batch).logits, batch_size, pixels)
        return of_class(logits.double(), captions, self._classes, "dino_class_log_probability")
