"""Section `base`: the diffusion model."""

from typing import Literal, Self

from pydantic import Field, model_validator

from irgen.settings.common import Precision, Settings

Quantize = Literal["none", "int8", "nf4"]


class BaseSettings(Settings):
    """The diffusion model that is adapted and searched."""

    model: str = Field(
        "black-forest-labs/FLUX.1-dev", description="Hub id, folder in the diffusers format, or `miniature`."
    )
    revision: str = Field("", description="Commit of the hub repository; pin it for a dataset that must last.")
    height_px: int = Field(512, ge=16, description="Height of the images.")
    width_px: int = Field(640, ge=16, description="Width of the images.")
    max_sequence_length: int = Field(
        512,
        ge=8,
        le=512,
        description="T5 tokens: 256 for FLUX.1-schnell, 300 for PixArt-Sigma; SDXL and DiT have none.",
    )
    precision: Precision = Field("auto", description="auto: bf16 where the device multiplies in it, else fp32.")
    denoiser: str = Field(
        "",
        description="Folder (config.json, weights) of a transformer or U-Net in place of the base's, e.g. SDXL-DPO's.",
    )
    lora: str = Field(
        "", description="Folder with a pytorch_lora_weights.safetensors of the base's own (DPO's), before any adapter."
    )
    quantize: Quantize = Field(
        "none", description="Weights of the transformer or U-Net while sampling: int8 by torchao, nf4 by bitsandbytes."
    )
    compile: bool = Field(False, description="torch.compile the repeated blocks: worth it for long runs on a GPU.")
    decode_batch: int = Field(1, ge=1, description="Images decoded at once, in one fixed shape.")

    @model_validator(mode="after")
    def _size_fits_patches(self) -> Self:
        for name in ("height_px", "width_px"):
            if getattr(self, name) % 8:
                raise ValueError(f"{name} = {getattr(self, name)} must be a multiple of 8")
        return self
