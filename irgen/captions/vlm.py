"""A vision-language model that describes the visible frame: BLIP-2, Florence-2, Qwen-VL and their kin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from irgen.errors import WeightsError

INSTRUCTION = "Describe this street scene in one short sentence. Name objects and where they are, nothing else."
FLORENCE_TASK = "<CAPTION>"
MAX_NEW_TOKENS = 48


class VlmCaptioner:
    """Describes images in the model's own words; `merging` makes captions of them.

    Args:
        model: hub id or folder, weights as safetensors.
        device: where it runs.

    Raises:
        WeightsError: the model is neither on this machine nor to be had, or is no image-to-text model.
    """

    def __init__(self, model: str, device: torch.device) -> None:
        try:
            self._processor = AutoProcessor.from_pretrained(model)
            network = AutoModelForImageTextToText.from_pretrained(model, dtype="auto", use_safetensors=True)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError(
                f"captions.vlm_model = {model}: cannot be loaded ({reason})",
                f"Where there is a network: `hf download {model}`; copy its cache here and set HF_HOME to it, or give "
                "a folder with the processor and safetensors weights of an image-to-text model.",
            ) from error
        self._model = network.eval()
        self._model.to(device)
        # Decoders continue their prompt: padding must stand before it.
        self._processor.tokenizer.padding_side = "left"

    @torch.inference_mode()
    def describe(self, images: Sequence[np.ndarray]) -> list[str]:
        """Describe uint8 [H, W, 3] images, a text each, by greedy decoding."""
        pictures = [Image.fromarray(image_u8) for image_u8 in images]
        prompt = self._prompt()
        texts = {} if prompt is None else {"text": [prompt] * len(pictures), "padding": True}
        inputs = self._processor(images=pictures, return_tensors="pt", **texts)
        inputs = inputs.to(self._model.device, self._model.dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        given = inputs.get("input_ids")
        if given is not None and torch.equal(tokens[:, : given.shape[1]], given):
            tokens = tokens[:, given.shape[1] :]
        return [text.strip() for text in self._processor.batch_decode(tokens, skip_special_tokens=True)]

    def _prompt(self) -> str | None:
        """Return what the model's class is asked with; None for plain captioners, which need no words."""
        if self._model.config.model_type == "florence2":
            return FLORENCE_TASK
        if getattr(self._processor, "chat_template", None) is None:
            return None
        content = [{"type": "image"}, {"type": "text", "text": INSTRUCTION}]
        return self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
