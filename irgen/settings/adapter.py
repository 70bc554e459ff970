"""Section `adapter`: the LoRA."""

from pydantic import Field

from irgen.settings.common import Settings


class AdapterSettings(Settings):
    """The LoRA that turns the base to infrared."""

    train: bool = Field(
        True,
        description="false takes the base as it is: one that is no FLUX, or that draws infrared already (base.lora).",
    )
    rank: int = Field(16, ge=1, description="LoRA rank.")
    alpha: float = Field(16, gt=0, description="LoRA alpha; the update is scaled by alpha / rank.")
    target_modules: tuple[str, ...] = Field(
        ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        min_length=1,
        description="Suffixes of the transformer's linear layers that get an adapter.",
    )
    steps: int = Field(2000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(1, ge=1, description="Images in one forward.")
    gradient_accumulation: int = Field(4, ge=1, description="Forwards an optimiser step.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak of the schedule.")
    warmup_steps: int = Field(100, ge=0, description="Linear warm-up, then constant.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's.")
    guidance: float = Field(1.0, ge=0, description="Embedded guidance while training a guidance-distilled base.")
    gradient_checkpointing: bool = Field(True, description="Trade time for memory.")
    checkpoint_every: int = Field(250, ge=1, description="Steps between checkpoints that a killed run resumes from.")
    grid_images: int = Field(16, ge=1, description="Images in the sample grid of the finished adapter.")
    seed: int = Field(0, ge=0, description="Of initial weights, data order, noises and timesteps.")
