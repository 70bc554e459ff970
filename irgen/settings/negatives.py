"""Section `negatives`: what the verifier learns not to believe."""

from typing import Literal, Self

from pydantic import Field, model_validator

from irgen.settings.common import Settings

NegativeKind = Literal["gray", "inverted", "agc", "rgb"]


class NegativesSettings(Settings):
    """Which not-infrared images the verifier learns from."""

    kinds: tuple[NegativeKind, ...] = Field(
        ("gray", "inverted", "agc", "rgb"),
        description="gray: luma of the visible frame; inverted: its negative; agc: LWIR with a wrong gain control; "
        "rgb: the visible frame itself. Leave some out for an ablation.",
    )
    seed: int = Field(0, ge=0, description="Of the wrong gain controls.")

    @model_validator(mode="after")
    def _kinds_differ(self) -> Self:
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds has a kind twice: {list(self.kinds)}")
        return self
