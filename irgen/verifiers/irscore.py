"""IRSCORE: how much an image looks like a real infrared photo of its caption, and not like a grayscale one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from irgen import devices, files
from irgen.captions.forms import grayscale, infrared
from irgen.errors import WeightsError
from irgen.search.interface import Scores
from irgen.settings import Precision
from irgen.verifiers import clip as open_clip_models
from irgen.verifiers.batches import check_pairs
from irgen.verifiers.clip import Clip

SETTINGS_FILE = "irscore.json"


class IrScore:
    """Scores by CLIP cosines (arXiv 2511.07362): (1 - alpha) cos(T(infrared), I) - alpha cos(T(grayscale), I).

    Attributes:
        clip: the model, finetuned or not.
        alpha: weight of the grayscale form, 0 < alpha < 1.
    """

    def __init__(self, clip: Clip, alpha: float) -> None:
        self.clip = clip
        self.alpha = alpha
        self._text_features: dict[str, torch.Tensor] = {}

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3] against their bare captions; an image's score does not depend on the others.

        Returns:
            IRSCORE and the cosines `cos_infrared` and `cos_grayscale`; NaN where a feature is not finite.
        """
        return self.judge(images, captions)[0]

    def judge(self, images: np.ndarray, captions: Sequence[str]) -> tuple[Scores, np.ndarray]:
        """Do as `score`, and return the images' unit features beside it, float64 [B, D]."""
        check_pairs(images, captions)
        features = self.clip.image_features(self.clip.resize(images)).double()
        # fp64 from here on: the two cosines are close, and their difference is what counts.
        cosines = torch.einsum("bd,bfd->bf", features, self.forms(captions).double()).cpu().numpy()
        value = self.combine(cosines[:, 0], cosines[:, 1])
        value[~np.isfinite(value)] = np.nan
        parts = {"cos_infrared": cosines[:, 0], "cos_grayscale": cosines[:, 1]}
        return Scores(value, parts), features.cpu().numpy()

    def score_pixels(self, pixels: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        """Score float32 [B, 3, H, W] in 0..1 as `score` does, keeping gradients: float32 [B]."""
        features = self.clip.encode_images(self.clip.squash(pixels.to(self.clip.device)))
        # A copy: features of texts are made once, in inference mode, and kept; no gradient can be taken through those.
        cosines = torch.einsum("bd,bfd->bf", features, self.forms(captions).clone())
        return (1 - self.alpha) * cosines[:, 0] - self.alpha * cosines[:, 1]

    def combine(self, cos_infrared: np.ndarray, cos_grayscale: np.ndarray) -> np.ndarray:
        """Return IRSCORE of the two cosines, elementwise."""
        return np.asarray((1 - self.alpha) * cos_infrared - self.alpha * cos_grayscale)

    def forms(self, captions: Sequence[str]) -> torch.Tensor:
        """Return unit features of the infrared and the grayscale form of captions, float32 [B, 2, D]; cached."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._text_features]
        if new:
            texts = [form(caption) for caption in new for form in (infrared, grayscale)]
            features = self.clip.text_features(texts)
            self._text_features |= dict(zip(new, features.view(len(new), 2, -1), strict=True))
        return torch.stack([self._text_features[caption] for caption in captions])

    def save(self, folder: Path, precision: Precision) -> None:
        """Write the model in open_clip's `local-dir:` format, and `irscore.json` beside it."""
        open_clip_models.save(self.clip, folder)
        files.write_json(folder / SETTINGS_FILE, {"alpha": self.alpha, "precision": precision})

    @classmethod
    def load(cls, folder: Path) -> IrScore:
        """Load what `save` wrote, without pickle, onto this machine's device.

        Raises:
            WeightsError: a file is missing or damaged.
        """
        try:
            settings = json.loads((folder / SETTINGS_FILE).read_text())
            alpha, precision = float(settings["alpha"]), settings["precision"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{folder / SETTINGS_FILE}: missing or damaged ({error})", "Run the verifier stage again."
            ) from error
        model = f"{open_clip_models.LOCAL}{folder}"
        return cls(open_clip_models.load(model, "", devices.device(), devices.dtype(precision)), alpha)
