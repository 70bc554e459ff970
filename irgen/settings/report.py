"""Section `report`: what is measured."""

from typing import Annotated

from pydantic import Field

from irgen.settings.common import Settings


class ReportSettings(Settings):
    """The validation report."""

    feature_net: str = Field(
        "auto",
        description="auto: clean-fid's Inception where its weights are there, else scenenet, which is shipped. Or "
        "inception, dinov2[:MODEL], clip[:MODEL], scenenet, random-conv, proxy:FOLDER.",
    )
    judges: tuple[str, ...] = Field(
        ("random-conv", "verifier"),
        description="Feature nets beside it, by the same names, and `verifier`: its own, marked as not independent.",
    )
    images: int = Field(2252, ge=2, description="N on both sides of every distance, at most; the report prints it.")
    budgets: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="Candidates at which all is measured, too, beside one and all, e.g. [2, 4]: what is not stored is "
        "rendered again. Only for a random search.",
    )
    bootstrap: int = Field(100, ge=0, description="Resamplings for intervals; 0 leaves them out.")
    grid_images: int = Field(16, ge=1, description="Images of each kind in the page's grids.")
    seed: int = Field(0, ge=0, description="Of the choice of images and resamplings.")
