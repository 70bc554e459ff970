"""ImageReward: BLIP's text encoder looking at the image, and a head, learnt from ranked images (arXiv 2304.05977).

The published checkpoint (ImageReward.pt) is a pickle of the authors' own BLIP and names its parts differently from
transformers; its tensors, converted to safetensors under their own names, are renamed here, and the sizes of the
network are read off their shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, CLIPImageProcessor
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from irgen import devices
from irgen.errors import WeightsError
from irgen.search.interface import Scores
from irgen.settings import ImageRewardChoice
from irgen.verifiers import aesthetic, weights
from irgen.verifiers.batches import as_scores, check_pairs, in_fixed_batches, rows_per_forward

PUBLISHED = "ImageReward.pt"
FIELD = "imagereward.weights"
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the head's output over the authors' data; rewards are normalised by them."""
TOKENS = 35
HEAD_WIDTH = 64
"""Of every attention head of BLIP's towers, large and base."""
PAIRS_PER_FORWARD = 8

VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.layers.\1.self_attn."),
    (r"^blocks\.", "encoder.layers."),
)
"""The vision tower's names there, and in transformers; the text tower's are the same."""


class ImageReward:
    """Scores (head(BLIP's first text token over the image) - mean) / std; images are cropped as published.

    Args:
        vision: the image tower.
        text: the text tower, with cross-attention to the image.
        head: weight float64 [D] and bias of the reward before normalisation.
        tokenizer: BERT's.
    """

    def __init__(self, vision: Any, text: Any, head: tuple[torch.Tensor, float], tokenizer: Any) -> None:
        self._vision, self._text, self._tokenizer = vision, text, tokenizer
        self._weight, self._bias = head[0].to(devices.device()), head[1]
        size_px = vision.config.image_size
        # Resized by the short side, cropped to the centre, and CLIP's mean and std: as the authors prepare images.
        self._processor = CLIPImageProcessor(
            size={"shortest_edge": size_px}, crop_size={"height": size_px, "width": size_px}
        )

    @classmethod
    def load(cls, choice: ImageRewardChoice) -> ImageReward:
        """Load the converted checkpoint and the tokenizer.

        Raises:
            WeightsError: one is not to be had, a pickle, or of another architecture.
        """
        how = weights.conversion(PUBLISHED, "ImageReward.safetensors") + " and name that file."
        tensors = weights.read(choice.weights, FIELD, how)
        try:
            vision, text = _vision(_part(tensors, "blip.visual_encoder.")), _text(_part(tensors, "blip.text_encoder."))
        except (KeyError, RuntimeError, ValueError, ZeroDivisionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{FIELD} = {choice.weights}: not ImageReward's tensors ({reason})", how) from error
        head = aesthetic.fold(_part(tensors, "mlp."), choice.weights)
        tokenizer = weights.pretrained(AutoTokenizer, choice.tokenizer, "imagereward.tokenizer")
        return cls(vision, text, head, tokenizer)

    @torch.inference_mode()
    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3] against their captions, of which 35 tokens are read."""
        check_pairs(images, captions)
        texts = self._tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).to(devices.device())
        pixels = weights.pixels(self._processor, images)
        batch_size = rows_per_forward(PAIRS_PER_FORWARD)
        reward = in_fixed_batches(self._reward, batch_size, pixels, texts["input_ids"], texts["attention_mask"])
        return Scores(as_scores((reward - MEAN) / STD), {})

    def _reward(self, pixels: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = self._vision(pixel_values=pixels).last_hidden_state
        read = self._text(input_ids=tokens, attention_mask=mask, encoder_hidden_states=seen).last_hidden_state
        return read[:, 0].double() @ self._weight + self._bias


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _vision(tensors: Mapping[str, torch.Tensor]) -> Any:
    """Build the image tower: ViT-L/16 at 224 px in the published checkpoint."""
    width, _, patch_px, _ = tensors["patch_embed.proj.weight"].shape
    side = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=len(tensors["blocks.0.mlp.fc1.bias"]),
        num_hidden_layers=_layers(tensors, r"blocks\.(\d+)\."),
        num_attention_heads=width // HEAD_WIDTH,
        image_size=side * patch_px,
        patch_size=patch_px,
        layer_norm_eps=1e-6,
    )
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in VISION_NAMES:
            changed, found = re.subn(pattern, replacement, name)
            if found:
                name = changed
                break
        renamed[name] = value
    return _filled(BlipVisionModel(config), renamed)


def _text(tensors: Mapping[str, torch.Tensor]) -> Any:
    """Build the text tower: BERT-base with cross-attention in the published checkpoint."""
    words, width = tensors["embeddings.word_embeddings.weight"].shape
    config = BlipTextConfig(
        vocab_size=words,
        hidden_size=width,
        encoder_hidden_size=tensors["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=len(tensors["encoder.layer.0.intermediate.dense.bias"]),
        num_hidden_layers=_layers(tensors, r"encoder\.layer\.(\d+)\."),
        num_attention_heads=width // HEAD_WIDTH,
        max_position_embeddings=len(tensors["embeddings.position_embeddings.weight"]),
        layer_norm_eps=1e-12,
    )
    # A buffer that older transformers saved; it is 0, 1, 2, ...
    own = {name: value for name, value in tensors.items() if name != "embeddings.position_ids"}
    return _filled(BlipTextModel(config, add_pooling_layer=False), own)


def _layers(tensors: Mapping[str, torch.Tensor], pattern: str) -> int:
    return 1 + max(int(found[1]) for name in tensors if (found := re.match(pattern, name)))


def _filled(model: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    model.load_state_dict(tensors, strict=True)
    return model.eval().to(devices.device())
