"""How much memory sampling from a base takes, reckoned from configs alone: no weights, no GPU.

The networks are built on torch's meta device and run once; every tensor made on the way is counted while it lives.
Attention is taken to be fused, as it is on a GPU: its matrix is never there.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from irgen import devices, weights
from irgen.generators import FAMILIES, Engine
from irgen.generators.conditions import Conditions, Rows
from irgen.generators.loading import quiet, refused
from irgen.generators.sizes import PUBLISHED, Bases, Component
from irgen.settings import BaseSettings

GIB = 2**30
QUANTISED = {"none": 1.0, "int8": 0.5, "nf4": 0.28}
"""Bytes of quantised weights for one of bf16; nf4 with its scales."""
OVERHEAD_BYTES = GIB
"""CUDA's own, and what the allocator loses between blocks."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes that sampling takes on the device.

    Attributes:
        weights: of each network, by component.
        denoiser: the component that is the transformer or U-Net.
        forward: activations of a forward, all images of the batch, both halves of guidance.
        decode: activations of a decoding.
        images: in a forward, and in a decoding.
    """

    weights: dict[str, int]
    denoiser: str
    forward: int
    decode: int
    images: tuple[int, int]

    @property
    def encoders(self) -> int:
        """Weights of the text encoders."""
        return sum(size for name, size in self.weights.items() if name.startswith("text_encoder"))

    @property
    def peak(self) -> int:
        """Everything on the device."""
        return sum(self.weights.values()) + max(self.forward, self.decode) + OVERHEAD_BYTES

    @property
    def least(self) -> int:
        """With text encoders and denoiser on the device in turn."""
        return max(self.peak - self.encoders, sum(self.weights.values()) - self.weights[self.denoiser] + OVERHEAD_BYTES)

    def __str__(self) -> str:
        """Return one line."""
        parts = [f"{name} {_gib(size)}" for name, size in self.weights.items()]
        steps = (
            f"a forward of {self.images[0]} {_gib(self.forward)}, a decoding of {self.images[1]} {_gib(self.decode)}"
        )
        return f"{', '.join(parts)}; {steps}; about {_gib(self.peak)} together"


def plan(base: BaseSettings, batch_size: int, guidance: float) -> MemoryPlan | None:
    """Reckon what sampling takes; None where neither the base's configs nor its sizes are known here.

    Of a family that another package brings nothing is known.

    Args:
        base: model, image size, precision, quantisation.
        batch_size: images of every forward.
        guidance: above 1 it doubles a forward, unless the base's own network takes it in.

    Raises:
        WeightsError: no such folder, a pipeline that irgen has no family for, or configs of no model.
        SettingsError: an image size or a setting that the base does not take.
    """
    known = _components(base)
    if known is None or known[0] not in ROWS:
        return None
    name, components = known
    with quiet():
        pipeline = empty_pipeline(name, components, devices.dtype(base.precision))
    engine = Engine(FAMILIES[name](pipeline, base, steps=1, guidance=guidance), batch_size, base.decode_batch)
    sizes = {one: _bytes(network) for one, network in pipeline.components.items() if _is_network(network)}
    part = weights.PIPELINES[name][0]
    sizes[part] = round(sizes[part] * QUANTISED[base.quantize])
    return MemoryPlan(
        weights=sizes,
        denoiser=part,
        forward=peak_bytes(lambda: empty_step(engine, pipeline, base, batch_size)),
        decode=peak_bytes(lambda: empty_decode(engine, base.decode_batch)),
        images=(batch_size, base.decode_batch),
    )


def empty_pipeline(name: str, components: Bases, dtype: torch.dtype) -> diffusers.DiffusionPipeline:
    """Build a pipeline without weights, on the meta device, and without tokenizers."""
    parts: dict[str, Any] = dict.fromkeys(weights.PIPELINES[name])
    with torch.device("meta"):
        parts |= {one: _build(component, dtype) for one, component in components.items() if one != "scheduler"}
    parts["scheduler"] = _build(components["scheduler"], dtype)
    return getattr(diffusers, name)(**parts)


def _build(component: Component, dtype: torch.dtype) -> Any:
    library = {"diffusers": diffusers, "transformers": transformers}[component.library]
    with refused(Path(component.kind)):
        kind = getattr(library, component.kind)
        if component.library == "transformers":
            made = kind(kind.config_class(**component.config))
        else:
            made = kind.from_config(component.config)
    return made.to(dtype).requires_grad_(False).eval() if _is_network(made) else made


@torch.inference_mode()
def empty_step(engine: Engine, pipeline: diffusers.DiffusionPipeline, base: BaseSettings, count: int) -> torch.Tensor:
    """Take a whole step of a pipeline without weights, and return the latents, float32 [count, *latent_shape]."""
    kind = type(pipeline).__name__
    conditions = Conditions(ROWS[kind](pipeline, base, count))
    if engine.nfe_per_forward == 2:
        conditions = Conditions(conditions.rows, ROWS[kind](pipeline, base, 1))
    return engine._denoise_batch(torch.empty(count, *engine.latent_shape, device="meta"), conditions, 0, 1)[0]


@torch.inference_mode()
def empty_decode(engine: Engine, count: int) -> torch.Tensor:
    """Decode latents of a pipeline without weights, and return images, [count, 3, height, width]."""
    return engine.family.decode(torch.empty(count, *engine.latent_shape, device="meta"))


def peak_bytes(run: Callable[[], Any]) -> int:
    """Return the most bytes of new tensors that live at once while a function runs on the meta device."""
    with _FusedAttention(), _Peak() as counted:
        run()
    return counted.peak


class _Peak(TorchDispatchMode):
    """Counts the tensors that operations make, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage() for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(made):
            if not isinstance(one, torch.Tensor):
                continue
            storage = one.untyped_storage()
            if storage not in given and storage not in self._seen:
                self._seen.add(storage)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._gone, storage.nbytes())
        return made

    def _gone(self, size: int) -> None:
        self.live -= size


class _FusedAttention(TorchFunctionMode):
    """Answers attention with an empty result, where the meta device would write out its matrix."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | dict(kwargs or {})
            return named["query"].new_empty((*named["query"].shape[:-1], named["value"].shape[-1]))
        return func(*args, **(kwargs or {}))


def _flux_rows(pipeline: Any, base: BaseSettings, count: int) -> Rows:
    config, dtype = pipeline.transformer.config, pipeline.transformer.dtype
    return {
        "prompt": _empty(dtype, count, base.max_sequence_length, config.joint_attention_dim),
        "pooled": _empty(dtype, count, config.pooled_projection_dim),
    }


def _sdxl_rows(pipeline: Any, base: BaseSettings, count: int) -> Rows:
    config, encoder = pipeline.unet.config, pipeline.text_encoder_2.config
    return {
        "prompt": _empty(pipeline.unet.dtype, count, encoder.max_position_embeddings, config.cross_attention_dim),
        "pooled": _empty(pipeline.unet.dtype, count, encoder.projection_dim),
    }


def _pixart_rows(pipeline: Any, base: BaseSettings, count: int) -> Rows:
    transformer, tokens = pipeline.transformer, base.max_sequence_length
    return {
        "prompt": _empty(transformer.dtype, count, tokens, transformer.config.caption_channels),
        "mask": _empty(torch.int64, count, tokens),
    }


def _dit_rows(pipeline: Any, base: BaseSettings, count: int) -> Rows:
    return {"label": _empty(torch.int64, count)}


ROWS: dict[str, Callable[[Any, BaseSettings, int], Rows]] = {
    weights.FLUX: _flux_rows,
    "StableDiffusionXLPipeline": _sdxl_rows,
    "PixArtSigmaPipeline": _pixart_rows,
    "DiTPipeline": _dit_rows,
}
"""Conditions of a family, empty, on the meta device."""


def _components(base: BaseSettings) -> tuple[str, Bases] | None:
    """Return a base's pipeline class and components, from its configs on disk or from the published sizes."""
    folder = weights.folder_here(base.model, base.revision)
    if folder is None or not (folder / weights.INDEX).is_file():
        return PUBLISHED.get(base.model)
    name = weights.pipeline_class(folder)
    index = json.loads((folder / weights.INDEX).read_bytes())
    found: Bases = {}
    for one in weights.components(name):
        if one.startswith("tokenizer"):
            continue
        path = folder / one / ("scheduler_config.json" if one == "scheduler" else "config.json")
        if not path.is_file():
            return PUBLISHED.get(base.model)
        with refused(path):
            library, kind = index[one]
            found[one] = Component(library, kind, json.loads(path.read_bytes()))
    return name, found


def _empty(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _is_network(component: Any) -> bool:
    return isinstance(component, torch.nn.Module)


def _bytes(network: torch.nn.Module) -> int:
    return sum(one.numel() * one.element_size() for one in network.parameters())


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.0f} MiB"
