"""Which of a pipeline's networks are on the GPU, and when; and how they are compiled for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline

from irgen import devices
from irgen.generators.loading import denoiser

ACTIVATIONS_BYTES = 8 << 30
"""Room left beside the weights on a GPU, when it is decided whether the text encoders may stay there."""

ENCODING_BYTES = 1 << 30
"""Room for the activations of the text encoders."""


def place(pipeline: DiffusionPipeline, device: torch.device) -> None:
    """Move denoiser and autoencoder to the device, and the text encoders where there is room for them too.

    FLUX.1-dev in bf16 has 23.8 GB of transformer and 9.8 GB of text encoders: on a GPU of 40 GB or less the latter
    stay on the CPU and are fetched for each `encode` (`room_for`).
    """
    denoiser(pipeline).to(device)
    # Convolutions take a quarter less time on this layout, on CPUs and GPUs alike.
    pipeline.vae.to(device, memory_format=torch.channels_last)
    encoders = [one for name, one in pipeline.components.items() if name.startswith("text_encoder") and one is not None]
    home = device
    if device.type == "cuda":
        needed_bytes = sum(map(_bytes, encoders)) + ACTIVATIONS_BYTES
        home = device if devices.free_bytes(device) > needed_bytes else torch.device("cpu")
    for encoder in encoders:
        encoder.to(home)


@contextlib.contextmanager
def room_for(encoders: Sequence[torch.nn.Module], network: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Hold text encoders on a device, then take them back to where they were.

    Where they and the denoiser do not fit on a GPU together, the denoiser leaves it for as long as it takes.
    """
    homes = [next(encoder.parameters()).device for encoder in encoders]
    coming = sum(_bytes(encoder) for encoder, home in zip(encoders, homes, strict=True) if home != device)
    crowded = device.type == "cuda" and devices.free_bytes(device) < coming + ENCODING_BYTES
    if crowded:
        network.to("cpu")
        torch.cuda.empty_cache()
    for encoder in encoders:
        encoder.to(device)
    try:
        yield
    finally:
        for encoder, home in zip(encoders, homes, strict=True):
            encoder.to(home)
        if crowded:
            torch.cuda.empty_cache()
            network.to(device)


def compile_denoiser(network: Any) -> None:
    """Compile a transformer or U-Net, for the one shape that all its forwards have; the first ones take long.

    Repeated blocks are compiled once for all, which takes a tenth of the time of the whole network.
    """
    if network._repeated_blocks:
        network.compile_repeated_blocks(dynamic=False)
    else:
        network.compile(dynamic=False)


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
