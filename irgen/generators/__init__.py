"""Text and noise to image, step by step, and the adapter that turns a base model to infrared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irgen import devices, extensions, weights
from irgen.generators import loading, placing
from irgen.generators.dit import Dit
from irgen.generators.engine import Engine, Family
from irgen.generators.flux import Flux
from irgen.generators.pixart import PixArt
from irgen.generators.sdxl import Sdxl
from irgen.settings import BaseSettings

__all__ = ["FAMILIES", "Engine", "Family", "load"]

FAMILIES: dict[str, type[Any]] = {
    weights.FLUX: Flux,
    "StableDiffusionXLPipeline": Sdxl,
    "PixArtSigmaPipeline": PixArt,
    "DiTPipeline": Dit,
}
"""By the diffusers class that a base's `model_index.json` names; packages may bring others."""


def load(base: BaseSettings, steps: int, guidance: float, batch_size: int, adapter: Path | None) -> Engine:
    """Load a base of any family and, unless None, the adapter in a folder, onto the GPU where there is one.

    Args:
        base: the model and how it is loaded.
        steps: of a whole denoising.
        guidance: embedded for FLUX.1-dev, without effect on schnell, of classifier-free guidance for all others.
        batch_size: images of every forward.
        adapter: the adapter stage's output, which may say that the base stays as it is, or any LoRA in the diffusers
            format.

    Raises:
        WeightsError: missing or unfit weights, or a pipeline that irgen has no family for.
        SettingsError: an image size or a setting that the base does not take.
    """
    pipeline = loading.load_pipeline(base)
    if adapter is not None and loading.is_trained(adapter):
        loading.load_adapter(pipeline, adapter)
    placing.place(pipeline, devices.device())
    name = type(pipeline).__name__
    kind: type[Any] = FAMILIES[name] if name in FAMILIES else extensions.load(extensions.FAMILIES, name)
    family = kind(pipeline, base, steps=steps, guidance=guidance)
    if base.compile:
        placing.compile_denoiser(family.denoiser)
    return Engine(family, batch_size, base.decode_batch)
