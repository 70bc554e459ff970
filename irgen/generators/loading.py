"""Base models and adapters from disk, with what is wrong of them said before anything long starts."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextModel, T5EncoderModel

from irgen import devices, weights
from irgen.errors import WeightsError
from irgen.settings import BaseSettings

log = logging.getLogger(__name__)

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for a LoRA in a folder."""
MODELS = {
    "transformer": FluxTransformer2DModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": T5EncoderModel,
}
ACTIVATIONS_BYTES = 8 << 30
"""Room left beside the weights on a GPU, when it is decided whether the text encoders may stay there."""


def load_pipeline(base: BaseSettings) -> FluxPipeline:
    """Load a base in the precision of the settings, on the CPU, weights from safetensors only.

    Raises:
        WeightsError: missing or damaged files, or no FLUX pipeline.
    """
    folder = weights.resolve(base.model, base.revision)
    log.info("loading %s", folder)
    with quiet():
        models = {name: _load_model(folder, name, devices.dtype(base.precision)) for name in MODELS}
        with _refused(folder):
            return FluxPipeline.from_pretrained(folder, **models, local_files_only=True)


def _load_model(folder: Path, name: str, dtype: torch.dtype) -> torch.nn.Module:
    with _refused(folder / name):
        model, info = MODELS[name].from_pretrained(
            folder,
            subfolder=name,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        # Both libraries only warn, and go on with random numbers or none.
        absent = sorted(info["missing_keys"])
        raise WeightsError(
            f"{folder / name}: its weight files lack {len(absent)} tensors of its config, {absent[0]} among them",
            "Weights and config.json belong to different models: fetch them again.",
        )
    return model.requires_grad_(False).eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers' and transformers' own bars and warnings to themselves, where irgen checks and reports."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # `dtype`, which a warning asks for in place of `torch_dtype`, is unknown to earlier diffusers.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            library.enable_progress_bar()


@contextlib.contextmanager
def _refused(where: Path) -> Iterator[None]:
    """Turn what the libraries raise on unfit files into an error that names the folder."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"{where}: cannot be loaded ({_first_line(error)})",
            "It must be in diffusers' FLUX format, weights as safetensors: fetch or make it again.",
        ) from error


def place(pipeline: FluxPipeline, device: torch.device) -> None:
    """Move transformer and autoencoder to the device, and the text encoders where there is room for them too.

    FLUX.1-dev in bf16 has 23.8 GB of transformer and 9.8 GB of text encoders: on a GPU of 40 GB or less the latter
    stay on the CPU and are fetched for each `encode`.
    """
    pipeline.transformer.to(device)
    pipeline.vae.to(device)
    home = device
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        texts = sum(map(_bytes, (pipeline.text_encoder, pipeline.text_encoder_2)))
        home = device if free_bytes > texts + ACTIVATIONS_BYTES else torch.device("cpu")
    pipeline.text_encoder.to(home)
    pipeline.text_encoder_2.to(home)


def load_adapter(pipeline: FluxPipeline, folder: Path) -> None:
    """Put a LoRA file of the diffusers format on the transformer.

    In fp32 the update is added to the weights (W' = W + alpha/r BA) and costs nothing from then on. In bf16 it stays
    a branch of its own: an update under half a bf16 step (0.4 % of the weight) would vanish in the sum.

    Args:
        pipeline: of the base that the adapter was trained on.
        folder: holds `pytorch_lora_weights.safetensors`.

    Raises:
        WeightsError: no such file, damaged, not finite, or trained on another architecture.
    """
    path = folder / ADAPTER_FILE
    _check_adapter(path, pipeline.transformer)
    with quiet(), _refused(path):
        pipeline.load_lora_weights(str(folder), weight_name=ADAPTER_FILE, use_safetensors=True)
    if pipeline.transformer.dtype == torch.float32:
        pipeline.fuse_lora(components=["transformer"])
        pipeline.unload_lora_weights()


def _check_adapter(path: Path, transformer: torch.nn.Module) -> None:
    """Compare a LoRA file's tensors with the layers they are for."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such adapter", "Run the adapter stage, or put a diffusers LoRA file there.")
    try:
        with safe_open(path, "pt") as tensors:
            updates = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({error})", "Train the adapter again, or fetch it again.") from error
    layers = {f"transformer.{name}": module for name, module in transformer.named_modules()}
    found = 0
    for name, update in updates.items():
        if not torch.isfinite(update).all():
            raise WeightsError(f"{path}: {name} is not finite", "Train the adapter again, with a lower learning rate.")
        layer, _, part = name.removesuffix(".weight").rpartition(".")
        if part in ("lora_A", "lora_B"):
            _check_fit(path, name, update, layers.get(layer), part)
            found += 1
    if not found:
        raise WeightsError(
            f"{path}: holds no LoRA of a FLUX transformer in the diffusers format",
            "Convert it: load it into a stock FluxPipeline and write it with save_lora_weights.",
        )


def _check_fit(path: Path, name: str, update: torch.Tensor, layer: torch.nn.Module | None, part: str) -> None:
    fits = isinstance(layer, torch.nn.Linear) and (
        update.shape[1] == layer.in_features if part == "lora_A" else update.shape[0] == layer.out_features
    )
    if not fits:
        raise WeightsError(
            f"{path}: {name} {tuple(update.shape)} fits no layer of the base: it was trained on another one",
            "Name that base in the manifest, or train the adapter on this one.",
        )


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def _first_line(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
