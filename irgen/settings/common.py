"""What the sections of a manifest share."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Precision = Literal["auto", "bf16", "fp32"]

MINIATURE = "miniature"
"""As a base or a verifier's model: the small one that comes with irgen."""


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def any_of(schema: dict[str, Any]) -> None:
    """Say `any of`: Prefect's form then offers the models to choose from; for `one of` it shows bare JSON."""
    schema["anyOf"] = schema.pop("oneOf")
