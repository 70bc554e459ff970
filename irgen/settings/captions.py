"""Section `captions`: how frames are described."""

from typing import Literal, Self

from pydantic import Field, model_validator

from irgen.settings.common import Settings


class CaptionsSettings(Settings):
    """How frames are described."""

    train_frames: int = Field(1000, ge=1, description="Frames of the train split to caption; all when there are fewer.")
    val_frames: int = Field(500, ge=1, description="Frames of the val split to caption.")
    test_frames: int = Field(2252, ge=1, description="Frames of the test split to caption.")
    captioner: Literal["rules", "vlm"] = Field(
        "rules", description="rules: from set and boxes. vlm: a vision-language model by day, merged with the rules."
    )
    vlm_model: str = Field("", description="Hub id or folder of the vision-language model; only with captioner vlm.")
    max_tokens: int = Field(77, ge=16, le=77, description="CLIP tokens a formatted caption may have.")
    seed: int = Field(0, ge=0, description="Varies the wording and the choice of frames.")

    @model_validator(mode="after")
    def _vlm_has_model(self) -> Self:
        if (self.captioner == "vlm") != bool(self.vlm_model):
            raise ValueError("captioner vlm needs vlm_model (a hub id or folder), and vlm_model needs captioner vlm")
        return self
