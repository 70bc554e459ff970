"""A verifier: how far the warmest part of an image stands out. It wants people and engines to glow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from irgen.search import Scores, Verifier
from irgen.settings import Settings


class ThermalContrast(Settings):
    """Settings of the verifier, and the verifier itself: it needs no weights."""

    VERSION: ClassVar[int] = 1
    hot_share: float = Field(0.02, gt=0, lt=0.5, description="Part of the image that counts as its warmest.")

    def load(self, trained: Path) -> Verifier:
        """Load what it needs; here is the place to read weights.

        Args:
            trained: output of stage verifier, for those that build on it.
        """
        return self

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3] by the mean of their warmest part over their median grey, in 0..1.

        Larger is better. NaN, with a reason, would be a dead candidate. An image's score must not depend on what else
        is in the batch.
        """
        grey = np.sort(images.mean(axis=3).reshape(len(images), -1), axis=1) / 255
        hottest = max(1, round(self.hot_share * grey.shape[1]))
        warm, middle = grey[:, -hottest:].mean(axis=1), np.median(grey, axis=1)
        return Scores(warm - middle, {"warm": warm, "middle": middle})
