"""CLIP's zero-shot class logit, the oracle of class-conditioned search (arXiv 2501.09732, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from irgen import devices
from irgen.search.interface import Scores
from irgen.settings import ZeroShotChoice
from irgen.verifiers import clip as open_clip_models
from irgen.verifiers.batches import as_scores, check_pairs, dots
from irgen.verifiers.classes import ClassNames
from irgen.verifiers.clip import Clip


class ZeroShot:
    """Scores the logit of the class that the caption names: logit scale x cos(T(template of the class), I).

    Args:
        clip: the model.
        classes: their names.
        template: what CLIP reads; {} is the class, the first of its synonyms.
    """

    def __init__(self, clip: Clip, classes: Sequence[str], template: str) -> None:
        self.clip = clip
        self._classes = ClassNames(classes)
        self._texts = [template.replace("{}", name.split(",")[0].strip()) for name in classes]

    @classmethod
    def load(cls, choice: ZeroShotChoice) -> ZeroShot:
        """Load the model that the settings name.

        Raises:
            WeightsError: it is not to be had, or has no safetensors weights.
        """
        clip = open_clip_models.load(choice.model, choice.pretrained, devices.device(), devices.dtype("auto"))
        return cls(clip, choice.classes, choice.template)

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3]; NaN, with the reason, where a caption names no class."""
        check_pairs(images, captions)
        scale: Any = self.clip.model.logit_scale
        features = self.clip.image_features(self.clip.resize(images)).double()
        logits = scale.detach().exp().double() * dots(features, self._class_features)
        return of_class(logits, captions, self._classes, "zero_shot_log_probability")

    @cached_property
    def _class_features(self) -> torch.Tensor:
        return self.clip.text_features(self._texts).double()


def of_class(logits: torch.Tensor, captions: Sequence[str], classes: ClassNames, part: str) -> Scores:
    """Take the logits [B, K] of the classes that captions name.

    Returns:
        The logit, and as `part` the class's log probability; NaN, with the reason, where a caption names none.
    """
    numbers, reasons = classes.of_all(captions)
    chosen = torch.tensor(numbers, device=logits.device).unsqueeze(1)
    value = as_scores(logits.gather(1, chosen)[:, 0])
    log_probability = as_scores(logits.log_softmax(1).gather(1, chosen)[:, 0])
    unnamed = np.array([bool(reason) for reason in reasons], dtype=bool)
    value[unnamed] = log_probability[unnamed] = np.nan
    return Scores(value, {part: log_probability}, reasons)
