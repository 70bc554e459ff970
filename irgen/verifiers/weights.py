"""Loading what verifiers stand on, without pickle: safetensors files, and models in the transformers format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from irgen import devices, weights
from irgen.errors import WeightsError


def read(file: str, field: str, how: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file.

    Args:
        file: its path.
        field: the setting that names it, for errors.
        how: how to get such a file.

    Raises:
        WeightsError: not there, another kind of file, or damaged.
    """
    if not file.endswith(".safetensors"):
        raise WeightsError(f"{field} = {file}: not a .safetensors file, and pickled weights are never read", how)
    if not Path(file).expanduser().is_file():
        raise WeightsError(f"{field} = {file}: no such file", how)
    try:
        tensors = load_file(Path(file).expanduser())
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{field} = {file}: damaged ({str(error).splitlines()[0]})", how) from error
    weights.require_finite(tensors, f"{field} = {file}", how)
    return tensors


def conversion(source: str, target: str) -> str:
    """Return the words and the command that turn a published pickle into a .safetensors file."""
    return (
        f'Convert {source} once: python -c "import torch, safetensors.torch as s; s.save_file({{k: v.clone() for k, v '
        f"in torch.load('{source}', map_location='cpu', weights_only=True).items()}}, '{target}')\""
    )


def pretrained(kind: Any, model: str, field: str) -> Any:
    """Load a transformers model (safetensors only, fp32, on the device), or a processor or tokenizer.

    Args:
        kind: a class of transformers with `from_pretrained`.
        model: hub id or folder.
        field: the setting that names it, for errors.

    Raises:
        WeightsError: neither on this machine nor to be had, pickled only, of another architecture, or damaged.
    """
    is_model = hasattr(kind, "forward") or kind.__name__.startswith("AutoModel")
    arguments: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32} if is_model else {}
    try:
        loaded = kind.from_pretrained(str(Path(model).expanduser()) if model.startswith("~") else model, **arguments)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{field} = {model}: cannot be loaded ({reason})",
            f"Where there is a network: `hf download {model}`; copy its cache here and set HF_HOME to it, or give a "
            "folder in the transformers format with safetensors weights.",
        ) from error
    return loaded.eval().to(devices.device()) if is_model else loaded


def pixels(processor: Any, images_u8: np.ndarray) -> torch.Tensor:
    """Prepare uint8 [B, H, W, 3] as the model's own image processor does: float32 [B, 3, h, w] on the device."""
    return processor(images=list(images_u8), return_tensors="pt")["pixel_values"].to(devices.device())
