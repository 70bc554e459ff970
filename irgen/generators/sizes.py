"""The configs of the published bases, for a memory plan where not even their configs are on this machine.

As in the hub repositories' config.json, defaults of the classes left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a pipeline.

    Attributes:
        library: `diffusers` or `transformers`.
        kind: its class there.
        config: what the class is made from.
    """

    library: str
    kind: str
    config: dict[str, Any]


Bases = dict[str, Component]

_CLIP_L = Component(
    "transformers",
    "CLIPTextModel",
    {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
)
_CLIP_BIG_G = Component(
    "transformers",
    "CLIPTextModelWithProjection",
    {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
)
_T5_XXL = Component(
    "transformers",
    "T5EncoderModel",
    {
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
)


def _autoencoder(**config: Any) -> Component:
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
    }
    return Component("diffusers", "AutoencoderKL", {**blocks, **config})


def _flux(guidance_embeds: bool, scheduler: dict[str, Any]) -> Bases:
    return {
        "transformer": Component("diffusers", "FluxTransformer2DModel", {"guidance_embeds": guidance_embeds}),
        "vae": _autoencoder(
            latent_channels=16,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": _CLIP_L,
        "text_encoder_2": _T5_XXL,
        "scheduler": Component("diffusers", "FlowMatchEulerDiscreteScheduler", scheduler),
    }


def _pixart_sigma(sample_size: int, interpolation_scale: int) -> Bases:
    transformer = {
        "sample_size": sample_size,
        "interpolation_scale": interpolation_scale,
        "caption_channels": 4096,
        "use_additional_conditions": False,
    }
    return {
        "transformer": Component("diffusers", "PixArtTransformer2DModel", transformer),
        "vae": _autoencoder(scaling_factor=0.13025),
        "text_encoder": _T5_XXL,
        "scheduler": Component("diffusers", "DPMSolverMultistepScheduler", {}),
    }


def _dit(sample_size: int) -> Bases:
    return {
        "transformer": Component("diffusers", "DiTTransformer2DModel", {"sample_size": sample_size, "out_channels": 8}),
        "vae": _autoencoder(scaling_factor=0.18215),
        "scheduler": Component("diffusers", "DDIMScheduler", {"clip_sample": False}),
    }


_SDXL: Bases = {
    "unet": Component(
        "diffusers",
        "UNet2DConditionModel",
        {
            "sample_size": 128,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    ),
    "vae": _autoencoder(scaling_factor=0.13025, force_upcast=True),
    "text_encoder": _CLIP_L,
    "text_encoder_2": _CLIP_BIG_G,
    "scheduler": Component(
        "diffusers",
        "EulerDiscreteScheduler",
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "steps_offset": 1,
            "timestep_spacing": "leading",
        },
    ),
}

PUBLISHED: dict[str, tuple[str, Bases]] = {
    "black-forest-labs/FLUX.1-dev": (
        "FluxPipeline",
        _flux(guidance_embeds=True, scheduler={"shift": 3.0, "use_dynamic_shifting": True}),
    ),
    "black-forest-labs/FLUX.1-schnell": ("FluxPipeline", _flux(guidance_embeds=False, scheduler={"shift": 1.0})),
    "stabilityai/stable-diffusion-xl-base-1.0": ("StableDiffusionXLPipeline", _SDXL),
    "PixArt-alpha/PixArt-Sigma-XL-2-512-MS": ("PixArtSigmaPipeline", _pixart_sigma(64, 1)),
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": ("PixArtSigmaPipeline", _pixart_sigma(128, 2)),
    "facebook/DiT-XL-2-256": ("DiTPipeline", _dit(32)),
    "facebook/DiT-XL-2-512": ("DiTPipeline", _dit(64)),
}
"""By hub id: the pipeline's class, and its components but for the tokenizers."""
