"""Section `verifier`: the CLIP model that tells real infrared, its training and its bar."""

from typing import Self

from pydantic import Field, model_validator

from irgen.settings.common import Precision, Settings


class VerifierBar(Settings):
    """The least the verifier must reach on held-out frames; the stage fails under it."""

    gray: float = Field(0.98, ge=0, le=1, description="AUC of real infrared against grayscale of the visible frame.")
    inverted: float = Field(0.0, ge=0, le=1, description="AUC against inverted grayscale.")
    agc: float = Field(0.0, ge=0, le=1, description="AUC against infrared with a wrong gain control.")
    rgb: float = Field(0.0, ge=0, le=1, description="AUC against the visible frame.")
    own: float = Field(0.0, ge=0, le=1, description="AUC against the adapted base's own samples.")
    match: float = Field(0.65, ge=0, le=1, description="AUC of the true caption against a shuffled one.")


class VerifierSettings(Settings):
    """The CLIP model that scores images, and its finetuning."""

    model: str = Field(
        "ViT-B-32",
        description="open_clip architecture, `hf-hub:` id, `local-dir:` folder, or `miniature`.",
    )
    pretrained: str = Field("openai", description="open_clip's tag of the weights; empty where `model` brings its own.")
    alpha: float = Field(
        0.5, gt=0, lt=1, description="IRSCORE = (1 - alpha) cos(T(infrared), I) - alpha cos(T(grayscale), I)."
    )
    steps: int = Field(400, ge=1, description="Optimiser steps of each training.")
    batch_size: int = Field(64, ge=2, description="Images a step: real and negative, and own samples, in equal parts.")
    learning_rate: float = Field(1e-5, gt=0, description="Peak of the cosine schedule.")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's.")
    warmup_steps: int = Field(40, ge=0, description="Linear warm-up.")
    validate_every: int = Field(50, ge=1, description="Steps between validations; the best checkpoint is kept.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="One training a seed; the best by validation stays.")
    own_samples: int = Field(
        0, ge=0, description="Images that the adapted base makes of train captions, learned as negatives; 0: none."
    )
    own_steps: int = Field(28, ge=1, description="Denoising steps of own samples: as in samples.steps.")
    own_guidance: float = Field(3.5, ge=0, description="Guidance of own samples: as in samples.guidance.")
    previews: bool = Field(
        False, description="Learn to rank own samples by their previews, too, for a search that judges them early."
    )
    precision: Precision = Field("auto", description="auto: bf16 where the device multiplies in it, else fp32.")
    bar: VerifierBar = Field(VerifierBar(), description="Calibration under this fails the stage.")

    @model_validator(mode="after")
    def _own_samples_are_made(self) -> Self:
        if self.previews and not self.own_samples:
            raise ValueError("previews are of own samples: set own_samples, or previews to false")
        if self.previews and self.own_steps < 2:
            raise ValueError(f"previews lie between the first step and the last, but own_steps = {self.own_steps}")
        if self.bar.own and not self.own_samples:
            raise ValueError("bar.own asks for an AUC against own samples: set own_samples, or bar.own to 0")
        return self
