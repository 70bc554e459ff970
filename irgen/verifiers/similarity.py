"""Self-supervised similarity: how much of the low-noise preview the final image shows (arXiv 2501.09732, section 3.1).

The clean-image estimate at a low noise level and the finished image should show the same; where their features part,
the last steps repaired or broke something. It needs no text and no labels, but two images: `compare(previews,
images)` instead of `score(images, captions)`. A search that decodes previews on its way (halving does) has both at
hand: it calls `compare` with the last preview and the final image of each candidate, and records the value as a part
of the score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoImageProcessor, AutoModel

from irgen.search.interface import Scores
from irgen.verifiers import weights
from irgen.verifiers.batches import as_scores, in_fixed_batches, rows_per_forward

IMAGES_PER_FORWARD = 8


class Similarity:
    """Cosine between the features of two images.

    Args:
        model: DINO, DINOv2, CLIP or SigLIP of transformers.
        processor: its image processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor

    @classmethod
    def load(cls, model: str) -> Similarity:
        """Load a model: hub id or folder, e.g. facebook/dinov2-base, google/siglip-base-patch16-224.

        Raises:
            WeightsError: it is not to be had, or has no safetensors weights.
        """
        processor = weights.pretrained(AutoImageProcessor, model, "similarity.model")
        return cls(weights.pretrained(AutoModel, model, "similarity.model"), processor)

    def compare(self, previews: np.ndarray, images: np.ndarray) -> Scores:
        """Score uint8 [B, H, W, 3] images by the cosine to their previews, uint8 [B, h, w, 3]; NaN where not finite."""
        if len(previews) != len(images):
            raise ValueError(f"{len(previews)} previews, but {len(images)} images")
        cosine = (self.features(previews) * self.features(images)).sum(-1)
        return Scores(as_scores(cosine), {})

    @torch.inference_mode()
    def features(self, images: np.ndarray) -> torch.Tensor:
        """Return unit features of uint8 [B, H, W, 3], float64 [B, D]: a joint model's projection, else its pooler."""
        pixels = weights.pixels(self._processor, images)
        forward = getattr(self._model, "get_image_features", self._model)
        batch_size = rows_per_forward(IMAGES_PER_FORWARD)
        rows = in_fixed_batches(lambda batch: forward(pixel_values=batch).pooler_output, batch_size, pixels)
        return F.normalize(rows.double(), dim=-1)
