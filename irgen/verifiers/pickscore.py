"""PickScore: CLIP ViT-H finetuned on which of two images people picked (arXiv 2305.01569, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoProcessor, CLIPModel

from irgen import devices
from irgen.search.interface import Scores
from irgen.settings import PickScoreChoice
from irgen.verifiers import weights
from irgen.verifiers.batches import as_scores, check_pairs, in_fixed_batches, rows_per_forward

PAIRS_PER_FORWARD = 8


class PickScore:
    """Scores exp(logit scale) cos(T(caption), I); images are cropped as the model's processor says.

    Args:
        model: `transformers.CLIPModel`.
        processor: its tokenizer and image processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor

    @classmethod
    def load(cls, choice: PickScoreChoice) -> PickScore:
        """Load what the settings name.

        Raises:
            WeightsError: it is not to be had, or has no safetensors weights.
        """
        processor = weights.pretrained(AutoProcessor, choice.processor, "pickscore.processor")
        return cls(weights.pretrained(CLIPModel, choice.model, "pickscore.model"), processor)

    @torch.inference_mode()
    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3] against their captions."""
        check_pairs(images, captions)
        length = self._model.config.text_config.max_position_embeddings
        texts = self._processor.tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(devices.device())
        pixels = weights.pixels(self._processor.image_processor, images)
        batch_size = rows_per_forward(PAIRS_PER_FORWARD)
        cosine = in_fixed_batches(self._cosine, batch_size, pixels, texts["input_ids"], texts["attention_mask"])
        return Scores(as_scores(self._model.logit_scale.exp().double() * cosine), {})

    def _cosine(self, pixels: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = self._model.get_image_features(pixel_values=pixels).pooler_output
        read = self._model.get_text_features(input_ids=tokens, attention_mask=mask).pooler_output
        return (F.normalize(seen.double(), dim=-1) * F.normalize(read.double(), dim=-1)).sum(-1)
