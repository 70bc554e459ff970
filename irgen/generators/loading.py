"""Base models and adapters from disk, with what is wrong of them said before anything long starts."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, FluxPipeline
from safetensors import SafetensorError, safe_open

from irgen import devices, weights
from irgen.errors import SettingsError, WeightsError
from irgen.settings import BaseSettings

log = logging.getLogger(__name__)

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for a LoRA in a folder."""


def load_pipeline(base: BaseSettings) -> DiffusionPipeline:
    """Load a base for sampling, on the CPU, weights from safetensors only: precision, quantisation, denoiser and LoRA.

    Raises:
        WeightsError: missing or damaged files, or a pipeline that irgen has no family for.
        SettingsError: a quantisation whose package is not installed.
    """
    return _load(weights.resolve(base.model, base.revision), base, quantization(base))


def load_trainable(base: BaseSettings) -> FluxPipeline:
    """Load a base that an adapter can be trained on, without quantisation.

    Raises:
        WeightsError: missing or damaged files.
        SettingsError: another family than FLUX, or a base with a LoRA of its own.
    """
    folder = weights.resolve(base.model, base.revision)
    name = weights.pipeline_class(folder)
    if name != weights.FLUX:
        raise SettingsError(
            f"base.model = {base.model!r} is a {name}: adapters are trained on {weights.FLUX} only",
            "Set adapter.train to false to take it as it is, with a LoRA of its own in base.lora; or take a FLUX base.",
        )
    if base.lora:
        raise SettingsError(
            f"base.lora = {base.lora!r}: no adapter is trained on top of another LoRA",
            "Merge it into the base (fuse_lora, save_pretrained) and name that.",
        )
    return _load(folder, base, None)


def _load(folder: Path, base: BaseSettings, quantization_config: Any) -> DiffusionPipeline:
    log.info("loading %s", folder)
    name = weights.pipeline_class(folder)
    denoiser, *others = weights.components(name)
    own = weights.part_folder(base, "denoiser") if base.denoiser else None
    dtype = devices.dtype(base.precision)
    with quiet():
        models = {
            one: _load_model(folder / one, _model_class(folder, one), dtype)
            for one in others
            if not one.startswith(("tokenizer", "scheduler"))
        }
        kind = _model_class(folder, denoiser)
        models[denoiser] = _load_model(own or folder / denoiser, kind, dtype, quantization_config)
        with refused(folder):
            pipeline = getattr(diffusers, name).from_pretrained(
                folder, **models, **_unused(folder, name), local_files_only=True
            )
    if base.lora:
        load_adapter(pipeline, weights.part_folder(base, "lora"), "base")
    return pipeline


def _unused(folder: Path, name: str) -> dict[str, None]:
    """Return as None what a pipeline's index names beyond its family's components: it would be loaded, or unpickled."""
    index = json.loads((folder / weights.INDEX).read_bytes())
    used = weights.components(name)
    return {one: None for one, made_of in index.items() if isinstance(made_of, list) and one not in used}


def _model_class(folder: Path, component: str) -> Any:
    """Return the class that a pipeline's index names for a component: one of diffusers or transformers, by name."""
    index = json.loads((folder / weights.INDEX).read_bytes())
    with refused(folder / weights.INDEX):
        library, name = index[component]
        return getattr({"diffusers": diffusers, "transformers": transformers}[library], name)


def _load_model(folder: Path, kind: Any, dtype: torch.dtype, quantization_config: Any = None) -> torch.nn.Module:
    more = {} if quantization_config is None else {"quantization_config": quantization_config}
    with refused(folder):
        model, info = kind.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **more
        )
    if info["missing_keys"]:
        # Both libraries only warn, and go on with random numbers or none.
        absent = sorted(info["missing_keys"])
        raise WeightsError(
            f"{folder}: its weight files lack {len(absent)} tensors of its config, {absent[0]} among them",
            "Weights and config.json belong to different models: fetch them again.",
        )
    return model.requires_grad_(False).eval()


def quantization(base: BaseSettings) -> Any:
    """Return diffusers' config for quantising the denoiser's weights, None for none.

    Both keep an image independent of its neighbours; bitsandbytes' int8 does not, as it looks for outliers in a batch.

    Raises:
        SettingsError: the package that does it is not installed, or needs a GPU that is not here.
    """
    if base.quantize == "none":
        return None
    package = {"int8": "torchao", "nf4": "bitsandbytes"}[base.quantize]
    if importlib.util.find_spec(package) is None:
        raise SettingsError(
            f"base.quantize = {base.quantize!r} needs the package {package}", "Run `pip install 'irgen[quantize]'`."
        )
    if base.quantize == "nf4" and not torch.cuda.is_available():
        raise SettingsError("base.quantize = 'nf4' needs a GPU", "Set it to int8 or none.")
    if base.quantize == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    return diffusers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=devices.dtype(base.precision)
    )


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
def refused(where: Path) -> Iterator[None]:
    """Turn what the libraries raise on unfit files into an error that names the folder."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"{where}: cannot be loaded ({_first_line(error)})",
            "It must be in the diffusers format, weights as safetensors: fetch or make it again.",
        ) from error


def denoiser(pipeline: DiffusionPipeline) -> Any:
    """Return a pipeline's transformer or U-Net."""
    return pipeline.components[weights.components(type(pipeline).__name__)[0]]


def is_trained(folder: Path) -> bool:
    """Say whether an adapter's folder holds one: the stage's output may say instead that there is none to load."""
    try:
        return bool(json.loads((folder / "adapter.json").read_text()).get("train", True))
    except (OSError, ValueError, AttributeError):
        # Any LoRA file in the diffusers format will do, and what is wrong with it `load_adapter` says.
        return True


def load_adapter(pipeline: DiffusionPipeline, folder: Path, name: str = "adapter") -> None:
    """Put a LoRA file of the diffusers format on the denoiser.

    In fp32 the update is added to the weights (W' = W + alpha/r BA) and costs nothing from then on. In bf16 it stays
    a branch of its own: an update under half a bf16 step (0.4 % of the weight) would vanish in the sum.

    Args:
        pipeline: of the base that the adapter was trained on.
        folder: holds `pytorch_lora_weights.safetensors`.
        name: unlike that of any other LoRA on the pipeline.

    Raises:
        WeightsError: no such file, damaged, not finite, trained on another architecture, or of a family without LoRAs.
    """
    path, network = folder / ADAPTER_FILE, denoiser(pipeline)
    _check_adapter(path, pipeline)
    with quiet(), refused(path):
        pipeline.load_lora_weights(str(folder), weight_name=ADAPTER_FILE, use_safetensors=True, adapter_name=name)
        if network.dtype == torch.float32 and getattr(network, "quantization_method", None) is None:
            pipeline.fuse_lora(components=[weights.components(type(pipeline).__name__)[0]])
            pipeline.unload_lora_weights()
        else:
            network.set_adapters(list(network.peft_config))


def _check_adapter(path: Path, pipeline: DiffusionPipeline) -> None:
    """Compare a LoRA file's tensors with the layers they are for."""
    if not hasattr(pipeline, "load_lora_weights"):
        raise WeightsError(
            f"{path}: a {type(pipeline).__name__} takes no LoRA", "Leave it out, or name a FLUX or SDXL base."
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such adapter", "Run the adapter stage, or put a diffusers LoRA file there.")
    try:
        with safe_open(path, "pt") as tensors:
            updates = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({error})", "Train the adapter again, or fetch it again.") from error
    component, network = weights.components(type(pipeline).__name__)[0], denoiser(pipeline)
    layers = {f"{component}.{name}": module for name, module in network.named_modules()}
    found = 0
    for name, update in updates.items():
        if not torch.isfinite(update).all():
            raise WeightsError(f"{path}: {name} is not finite", "Train the adapter again, with a lower learning rate.")
        layer, _, part = name.removesuffix(".weight").rpartition(".")
        if part in ("lora_A", "lora_B"):
            _check_fit(path, name, update, layers.get(layer), part)
            found += 1
    if not found:
        kind = type(pipeline).__name__
        raise WeightsError(
            f"{path}: holds no LoRA of the base's {component} in the diffusers format",
            f"Convert it: load it into a stock {kind} and write it with save_lora_weights.",
        )


def _check_fit(path: Path, name: str, update: torch.Tensor, layer: torch.nn.Module | None, part: str) -> None:
    if isinstance(layer, torch.nn.Linear):
        fits = update.shape[1] == layer.in_features if part == "lora_A" else update.shape[0] == layer.out_features
    else:
        fits = isinstance(layer, torch.nn.Conv2d) and (
            update.shape[1] == layer.in_channels if part == "lora_A" else update.shape[0] == layer.out_channels
        )
    if not fits:
        raise WeightsError(
            f"{path}: {name} {tuple(update.shape)} fits no layer of the base: it was trained on another one",
            "Name that base in the manifest, or train the adapter on this one.",
        )


def _first_line(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
