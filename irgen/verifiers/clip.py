"""open_clip models: loading without pickle, features of a fixed batch shape, saving for `local-dir:`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from irgen import devices, files, weights
from irgen.captions.forms import grayscale
from irgen.errors import WeightsError
from irgen.miniature import clip_dir
from irgen.settings import MINIATURE
from irgen.verifiers.batches import in_fixed_batches

LOCAL, HUB = "local-dir:", "hf-hub:"
WEIGHTS_FILE, CONFIG_FILE = "open_clip_model.safetensors", "open_clip_config.json"
LOCAL_WEIGHTS_FILES = (WEIGHTS_FILE, "open_clip_pytorch_model.safetensors")
IMAGES_PER_FORWARD = 8
TEXTS_PER_FORWARD = 8


@dataclass(frozen=True)
class Clip:
    """An open_clip model and all it takes to run and save it.

    Attributes:
        model: in fp32, on its device.
        tokenizer: texts to int64 [B, context length].
        config: `model_cfg` of open_clip's config file, enough to build the model again.
        precision: dtype of the towers' matrix products; features are fp32 always.
    """

    model: nn.Module
    tokenizer: Callable[..., torch.Tensor]
    config: dict[str, Any]
    precision: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def preprocess(self) -> dict[str, Any]:
        """The model's mean, std and interpolation. Images are squashed to its size: nothing at the sides is lost."""
        asked = self.model.visual.preprocess_cfg  # type: ignore[union-attr]
        return {key: asked[key] for key in ("mean", "std", "interpolation")} | {"resize_mode": "squash"}  # type: ignore[index]

    @property
    def image_size_px(self) -> tuple[int, int]:
        """Height and width of the model's input."""
        size: Any = self.model.visual.image_size  # type: ignore[union-attr]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def resize(self, images_u8: np.ndarray) -> torch.Tensor:
        """Squash uint8 [B, H, W, 3] to the model's size, antialiased: float32 [B, 3, h, w] in 0..1 on its device."""
        pixels = torch.from_numpy(np.ascontiguousarray(images_u8)).to(self.device)
        return self.squash(pixels.permute(0, 3, 1, 2).float() / 255)

    def squash(self, pixels: torch.Tensor) -> torch.Tensor:
        """Squash float32 [B, 3, H, W] in 0..1 to the model's size, antialiased; keeps gradients."""
        if pixels.shape[2:] == self.image_size_px:
            return pixels
        mode = self.preprocess["interpolation"]
        return F.interpolate(pixels, self.image_size_px, mode=mode, antialias=True, align_corners=False).clamp(0, 1)

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn float32 [B, 3, h, w] in 0..1 into unit features, float32 [B, D]; keeps gradients."""
        preprocess = self.preprocess
        mean, std = (torch.tensor(preprocess[key], device=self.device).view(3, 1, 1) for key in ("mean", "std"))
        with self._autocast():
            features = self.model.encode_image((pixels.to(self.device) - mean) / std)  # type: ignore[operator]
        return F.normalize(features.float(), dim=-1)

    def encode_texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens [B, context length] into unit features, float32 [B, D]; keeps gradients."""
        with self._autocast():
            features = self.model.encode_text(tokens.to(self.device))  # type: ignore[operator]
        return F.normalize(features.float(), dim=-1)

    @torch.inference_mode()
    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode any number of images in batches of one fixed, padded shape: no image depends on its neighbours."""
        return in_fixed_batches(self.encode_images, devices.rows_at_once(IMAGES_PER_FORWARD), pixels)

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode any number of texts in batches of one fixed, padded shape: no text depends on its neighbours."""
        return in_fixed_batches(self.encode_texts, devices.rows_at_once(TEXTS_PER_FORWARD), self.tokenizer(list(texts)))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)


def count_cut(clip: Clip, captions: Sequence[str]) -> int:
    """Return how many captions lose words at the end of the model's text context."""
    texts = [grayscale(caption) for caption in captions]
    if not texts:
        return 0
    tokens = clip.tokenizer(texts)
    context = tokens.shape[1]
    # Where words are cut off, an end token stands in the place of one that would have gone on.
    longer = clip.tokenizer(texts, context_length=context + 1)
    return int((longer[:, :context] != tokens).any(1).sum())


def resolve(model: str) -> str:
    """Return open_clip's name of a model: `miniature` is the folder that comes with irgen."""
    return f"{LOCAL}{clip_dir()}" if model == MINIATURE else model


def load(model: str, pretrained: str, device: torch.device, precision: torch.dtype) -> Clip:
    """Load a model and its tokenizer, from safetensors only.

    Args:
        model: open_clip architecture, `hf-hub:ID`, `local-dir:FOLDER` or `miniature`.
        pretrained: open_clip's tag, or a .safetensors file; read only where `model` is an architecture.
        device: where the model goes.
        precision: of the towers' matrix products.

    Raises:
        WeightsError: no such model or tag, weights that are absent, pickled only, of another architecture, or damaged.
    """
    name = resolve(model)
    arguments: dict[str, Any] = {}
    if name.startswith(LOCAL):
        _check_folder(Path(name.removeprefix(LOCAL)), model)
    elif name.startswith(HUB):
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            _hub_file(name.removeprefix(HUB), file, model)
    else:
        arguments = _built_in_weights(name, pretrained)
    try:
        config = open_clip.get_model_config(name)
        if arguments.get("force_quick_gelu"):
            config["quick_gelu"] = True
        network = open_clip.create_model(name, device=device, require_pretrained=True, **arguments)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"verifier.model = {model}: cannot be loaded ({first_line})",
            f"It needs {CONFIG_FILE} and matching {WEIGHTS_FILE} in open_clip's format.",
        ) from error
    weights.require_finite(network.state_dict(), f"verifier.model = {model}", "Fetch it again, or train it again.")
    return Clip(network.eval(), tokenizer, config, precision)


def save(clip: Clip, folder: Path) -> None:
    """Write weights (safetensors), config and tokenizer, so that stock open_clip loads `local-dir:<folder>`."""
    config = json.loads(json.dumps(clip.config))
    if hasattr(clip.tokenizer, "save_pretrained"):
        clip.tokenizer.save_pretrained(folder)
        # For `local-dir:` open_clip looks in the folder itself, whatever the name; it only must not be empty.
        config["text_cfg"].setdefault("hf_tokenizer_name", "local")
    tensors = {name: value.detach().cpu().contiguous() for name, value in clip.model.state_dict().items()}
    with files.placed(folder / WEIGHTS_FILE) as path:
        save_file(tensors, path)
    files.write_json(folder / CONFIG_FILE, {"model_cfg": config, "preprocess_cfg": clip.preprocess})


def _check_folder(folder: Path, model: str) -> None:
    if not (folder / CONFIG_FILE).is_file() or not any((folder / name).is_file() for name in LOCAL_WEIGHTS_FILES):
        raise WeightsError(
            f"verifier.model = {model}: {folder} does not hold {CONFIG_FILE} and {WEIGHTS_FILE}",
            "Give a folder in open_clip's `local-dir:` format with safetensors weights.",
        )


def _built_in_weights(name: str, pretrained: str) -> dict[str, Any]:
    """Return the arguments with which open_clip builds an architecture on safetensors weights."""
    if name.replace("/", "-") not in open_clip.list_models():
        raise WeightsError(
            f"verifier.model = {name}: not an architecture of open_clip",
            "`python -c 'import open_clip; print(open_clip.list_models())'` lists them.",
        )
    if pretrained.endswith(".safetensors"):
        if not Path(pretrained).is_file():
            raise WeightsError(f"verifier.pretrained = {pretrained}: no such file")
        return {"pretrained": pretrained}
    tag = open_clip.get_pretrained_cfg(name.replace("/", "-"), pretrained)
    if not tag:
        tags = open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))
        raise WeightsError(
            f"verifier.pretrained = {pretrained!r}: not a tag of {name}", f"Tags: {', '.join(tags) or 'none'}."
        )
    repository = tag.get("hf_hub", "").rsplit("/", 1)[0]
    if not repository:
        raise WeightsError(
            f"verifier.pretrained = {pretrained}: {name} has only pickled weights under this tag",
            "Take another tag, or convert them to a .safetensors file and name that file here.",
        )
    path = _hub_file(repository, WEIGHTS_FILE, f"{name}, pretrained = {pretrained}")
    preprocess = {key: tag[key] for key in ("mean", "std", "interpolation") if key in tag}
    # OpenAI's weights were trained with QuickGELU; open_clip only warns when the architecture lacks it.
    quick_gelu = bool(tag.get("quick_gelu", False))
    return {"pretrained": path, "force_preprocess_cfg": preprocess, "force_quick_gelu": quick_gelu}


def _hub_file(repository: str, file: str, what: str) -> str:
    try:
        return hf_hub_download(repository, file)
    except Exception as error:  # the hub's client raises a dozen kinds, from requests' to OSError
        raise WeightsError(
            f"verifier.model = {what}: {file} of {repository} is neither in the cache nor to be had "
            f"({type(error).__name__})",
            f"Where there is a network: `hf download {repository} {file}`; copy its cache here and set HF_HOME to it, "
            "or set verifier.model to `local-dir:FOLDER`.",
        ) from error
