"""Section `teachers`: the detectors that label."""

from typing import Literal, Self

from pydantic import Field, model_validator

from irgen.settings.common import Settings

IGNORE = "ignore"
"""As a class: boxes of it are neither objects to learn nor background."""


class DetectorSettings(Settings):
    """A detector that is trained from nothing on gray images."""

    architecture: Literal["fcos", "faster_rcnn", "rt_detr"] = Field(
        "fcos",
        description="fcos: one stage, without anchors. faster_rcnn: regions are proposed, then classified. rt_detr: a "
        "transformer, which needs many more steps.",
    )
    backbone: str = Field(
        "small", description="small, or a convolutional backbone of timm: resnet18, ...; rt_detr has its own."
    )
    channels: int = Field(64, ge=32, multiple_of=32, description="Of the feature pyramid, or of the transformer.")
    scale: float = Field(1.0, gt=0, le=8, description="Images are enlarged by it before the detector sees them.")
    steps: int = Field(3000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(16, ge=2, description="Images a step.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak of the one-cycle schedule.")
    seed: int = Field(0, ge=0, description="Of weights, order and variation of the images.")


class TeachersSettings(Settings):
    """Two detectors that learn on the source's real LWIR frames, and how far they are trusted."""

    detectors: tuple[DetectorSettings, DetectorSettings] = Field(
        (DetectorSettings(), DetectorSettings(architecture="faster_rcnn")),
        description="The two; of different architectures, so that they do not err alike.",
    )
    train_frames: int = Field(10_000, ge=1, description="Frames of the train split to learn from; all when fewer.")
    val_frames: int = Field(1_000, ge=1, description="Frames of the val split to calibrate on.")
    classes: dict[str, str] = Field(
        {"people": IGNORE, "person?": IGNORE},
        description="The source's class -> the name that is learnt, or `ignore`; others keep their names.",
    )
    precision: float = Field(
        0.85,
        gt=0,
        lt=1,
        description="Share that must be right on held-out frames among a class's boxes of about one score; others are "
        "to be ignored.",
    )
    ignore_from: float = Field(
        0.15, ge=0, lt=1, description="What is less likely right than that is not even an ignore box."
    )
    seed: int = Field(0, ge=0, description="Of the choice of frames.")

    @model_validator(mode="after")
    def _architectures_differ(self) -> Self:
        first, second = (one.architecture for one in self.detectors)
        if first == second:
            raise ValueError(f"both detectors are {first}: two of one architecture err alike")
        return self
