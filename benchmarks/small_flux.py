"""Small FLUX pipelines with random transformers, a verifier, and prompts: what the CPU benchmarks run on.

Text encoders, autoencoder, CLIP and image size are the miniature's, so that prompts are read and images decoded and
judged as in any pipeline; only the transformer is another, of the size that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import alternating  # noqa: F401  first: it sets the threads
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from irgen import generators, miniature
from irgen.captions import forms
from irgen.generators import Engine, loading
from irgen.search import Prompt
from irgen.settings import BaseSettings
from irgen.verifiers import IrScore, clip

HEIGHT_PX, WIDTH_PX, T5_TOKENS = 64, 64, 48
STEPS, GUIDANCE = 28, 3.5
CAPTIONS = (
    "two people on a road at night",
    "one person and one car in front of a building by day",
    "three cars on a street at night",
    "one cyclist on a road by day",
)


@dataclass(frozen=True)
class Size:
    """Of a transformer: attention heads of width 40, double and single blocks."""

    heads: int
    double: int
    single: int


TINY = Size(heads=1, double=1, single=1)
"""So small that what is done around the forwards decides."""
SMALL = Size(heads=8, double=3, single=6)
"""20 M parameters: the forwards decide."""


@dataclass(frozen=True)
class Bench:
    """The same weights as irgen's parts and as the stock pipeline."""

    generator: Engine
    pipeline: FluxPipeline
    verifier: IrScore
    prompts: list[Prompt]

    @property
    def parameters(self) -> int:
        return sum(one.numel() for one in self.pipeline.transformer.parameters())


def build(folder: Path, size: Size, batch: int) -> Bench:
    """Save a pipeline into a folder, and load it twice."""
    torch.set_num_threads(1)
    with loading.quiet():
        pipeline = FluxPipeline.from_pretrained(miniature.flux_dir(), torch_dtype=torch.float32)
        pipeline.transformer = _transformer(pipeline.transformer, size)
        pipeline.save_pretrained(folder, safe_serialization=True)
    pipeline.set_progress_bar_config(disable=True)
    base = BaseSettings(
        model=str(folder),
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        max_sequence_length=T5_TOKENS,
        precision="fp32",
        decode_batch=min(batch, 8),
    )
    generator = generators.load(base, STEPS, GUIDANCE, batch, None)
    verifier = IrScore(clip.load("miniature", "", torch.device("cpu"), torch.float32), 0.5)
    prompts = [Prompt(index, forms.infrared(caption), caption) for index, caption in enumerate(CAPTIONS)]
    return Bench(generator, pipeline, verifier, prompts)


def _transformer(like: FluxTransformer2DModel, size: Size) -> FluxTransformer2DModel:
    config = dict(like.config) | {
        "num_attention_heads": size.heads,
        "num_layers": size.double,
        "num_single_layers": size.single,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FluxTransformer2DModel.from_config(config).eval().requires_grad_(False)
