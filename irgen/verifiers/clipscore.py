"""CLIPScore: how well an image fits its caption (Hessel et al., arXiv 2104.08718, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irgen import devices
from irgen.search.interface import Scores
from irgen.settings import ClipscoreChoice
from irgen.verifiers import clip as open_clip_models
from irgen.verifiers.batches import as_scores, check_pairs
from irgen.verifiers.clip import Clip

SCALE = 2.5
PROMPT = "A photo depicts "


class ClipScore:
    """Scores 2.5 max(cos(T("A photo depicts " + caption), I), 0); images are squashed to the model's size.

    Attributes:
        clip: the model.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    @classmethod
    def load(cls, choice: ClipscoreChoice) -> ClipScore:
        """Load the model that the settings name.

        Raises:
            WeightsError: it is not to be had, or has no safetensors weights.
        """
        device = devices.device()
        return cls(open_clip_models.load(choice.model, choice.pretrained, device, devices.dtype("auto")))

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3] against their captions; part `cos_caption` is the cosine before it is cut at 0."""
        check_pairs(images, captions)
        features = self.clip.image_features(self.clip.resize(images)).double()
        texts = self.clip.text_features([PROMPT + caption for caption in captions]).double()
        cosine = as_scores((features * texts).sum(1))
        return Scores(SCALE * np.maximum(cosine, 0), {"cos_caption": cosine})
