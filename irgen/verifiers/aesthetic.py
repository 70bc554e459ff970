"""LAION's aesthetic predictor: a stack of linear layers on CLIP features, about 1 to 10 as people graded photos.

Both published heads are read: the linear one (LAION-AI/aesthetic-predictor) and the five layers of
christophschuhmann/improved-aesthetic-predictor, between which there is no activation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from irgen import devices
from irgen.errors import WeightsError
from irgen.search.interface import Scores
from irgen.settings import AestheticChoice
from irgen.verifiers import clip as open_clip_models
from irgen.verifiers import weights
from irgen.verifiers.batches import as_scores, check_pairs
from irgen.verifiers.clip import Clip

PUBLISHED = "sac+logos+ava1-l14-linearMSE.pth"
FIELD = "aesthetic.head"


class Aesthetic:
    """Scores w . I + b, for unit CLIP features I; the caption is not read.

    Attributes:
        clip: the model that the head was trained on.
        weight: float64 [D].
        bias: of the score.
    """

    def __init__(self, clip: Clip, weight: torch.Tensor, bias: float) -> None:
        self.clip = clip
        self.weight = weight.to(clip.device)
        self.bias = bias

    @classmethod
    def load(cls, choice: AestheticChoice) -> Aesthetic:
        """Load the model and the head that the settings name.

        Raises:
            WeightsError: one is not to be had or pickled, or the head was made for other features.
        """
        how = weights.conversion(PUBLISHED, "aesthetic.safetensors") + " and name that file."
        weight, bias = fold(weights.read(choice.head, FIELD, how), choice.head)
        device = devices.device()
        clip = open_clip_models.load(choice.model, choice.pretrained, device, devices.dtype("auto"))
        if len(weight) != clip.config["embed_dim"]:
            raise WeightsError(
                f"{FIELD} = {choice.head}: for features of {len(weight)} numbers, but {choice.model} gives "
                f"{clip.config['embed_dim']}",
                "Set aesthetic.model and aesthetic.pretrained to the model that the head was trained on.",
            )
        return cls(clip, weight, bias)

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3]; images are squashed to the model's size."""
        check_pairs(images, captions)
        features = self.clip.image_features(self.clip.resize(images)).double()
        return Scores(as_scores((features * self.weight).sum(1) + self.bias), {})


def fold(tensors: Mapping[str, torch.Tensor], file: str) -> tuple[torch.Tensor, float]:
    """Turn a head's linear layers into the one affine map that they are, in fp64.

    Args:
        tensors: `weight`, `bias` of one layer, or `layers.N.weight`, `layers.N.bias` of several.
        file: where they come from, for errors.

    Returns:
        Weight float64 [D], and bias.

    Raises:
        WeightsError: other names, shapes that do not fit together, or numbers that are not finite.
    """
    numbers = sorted(int(found[1]) for name in tensors if (found := re.fullmatch(r"layers\.(\d+)\.weight", name)))
    layers = [f"layers.{number}." for number in numbers] or [""]
    try:
        pairs = [(tensors[f"{layer}weight"].double(), tensors[f"{layer}bias"].double()) for layer in layers]
        weight, bias = pairs[0]
        for above, offset in pairs[1:]:
            weight, bias = above @ weight, above @ bias + offset
    except (KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{FIELD} = {file}: not a stack of linear layers ({str(error).splitlines()[0]})",
            f"Its tensors are {', '.join(sorted(tensors)) or 'none'}; wanted are layers.N.weight and layers.N.bias.",
        ) from error
    if weight.shape[0] != 1:
        raise WeightsError(f"{FIELD} = {file}: does not end in one score", "Take the published head.")
    return weight[0], float(bias[0])
