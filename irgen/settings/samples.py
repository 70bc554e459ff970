"""Section `samples`: what is generated, and how it is searched."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from irgen.settings.common import Settings
from irgen.settings.guide import IrscoreChoice, VerifierChoice, asks_teachers
from irgen.settings.search import CalibratedSearch, FirstOrderSearch, HalvingSearch, PathsSearch, RandomSearch, Search


class StartSettings(Settings):
    """What images start from: noise, or a real train frame that gives them its layout and its boxes."""

    inherit: float = Field(
        0.0, ge=0, le=1, description="Share of images that start from the frame of their caption, partly noised."
    )
    strength: float = Field(
        0.6, gt=0, lt=1, description="How much noise such a frame gets, 0 none: what is left of the steps is run."
    )
    insert: float = Field(
        0.0, ge=0, le=1, description="Share of images for which a person or cyclist is drawn into an empty frame."
    )
    insert_strength: float = Field(0.9, gt=0, lt=1, description="How much noise the place of an insertion gets.")

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.inherit + self.insert > 1:
            raise ValueError(f"inherit + insert = {self.inherit + self.insert:g} is more than all images")
        return self

    @property
    def used(self) -> bool:
        """Whether any image starts from a frame."""
        return self.inherit + self.insert > 0


class SelectionSettings(Settings):
    """Which candidates are kept: of a shard, those that together look most like real train frames."""

    net: str = Field(
        "",
        description="Feature net in which a shard's images shall match real train frames: a name of report.feature_net "
        "that the report does not use, or `proxy`, taught on the train frames first. Empty keeps each prompt's best.",
    )
    share: float = Field(
        0.5, gt=0, le=1, description="The part of a prompt's finished images, best scores first, to choose among."
    )


class SamplesSettings(Settings):
    """What is generated, and how it is searched."""

    images: int = Field(10_000, ge=1, description="Images in the dataset.")
    steps: int = Field(28, ge=1, description="Denoising steps.")
    guidance: float = Field(3.5, ge=0, description="Embedded guidance of a guidance-distilled base.")
    search: Search = Field(RandomSearch(), description="The algorithm and its budget.")
    guide: VerifierChoice = Field(IrscoreChoice(), description="The verifier, or several, that the search obeys.")
    selection: SelectionSettings = Field(SelectionSettings(), description="Which of the candidates are kept.")
    start: StartSettings = Field(StartSettings(), description="What images start from.")
    mix: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {},
        description="Share of images that shall show something, by what captions tell: day, night, campus, road, "
        "downtown, nobody, person, cyclist, car, many (3 people or more), near, midway, far. What is not named comes "
        "as it does in the source's captions.",
    )
    batch_size: int = Field(4, ge=1, description="Images in one forward: the one fixed, padded shape.")
    prompts_at_once: int = Field(4, ge=1, description="Prompts searched side by side.")
    images_per_shard: int = Field(256, ge=1, description="A shard is the unit of work that a crash can lose.")
    image_format: Literal["png", "jpg"] = Field("png", description="jpg is written at quality 95, 4:4:4.")
    seed: int = Field(0, ge=0, description="Another seed, other images.")

    @model_validator(mode="after")
    def _search_fits_steps(self) -> Self:
        search, steps = self.search, self.steps
        if isinstance(search, HalvingSearch) and search.schedule[-1][1] != steps:
            raise ValueError(f"search.schedule ends at step {search.schedule[-1][1]}, but steps = {steps}")
        if isinstance(search, CalibratedSearch) and search.nfe < steps:
            raise ValueError(f"search.nfe = {search.nfe} is less than one image needs: at least {steps} (steps)")
        if isinstance(search, FirstOrderSearch) and search.gradient_steps > steps:
            raise ValueError(f"search.gradient_steps = {search.gradient_steps} are more than steps = {steps}")
        if isinstance(search, FirstOrderSearch) and self.guide.name != "irscore":
            raise ValueError(f"first_order needs a guide with a gradient: irscore, not {self.guide.name}")
        if self.start.used and isinstance(search, PathsSearch | FirstOrderSearch | HalvingSearch | CalibratedSearch):
            raise ValueError(
                f"images that start from frames have fewer steps than {search.algorithm} is made for: "
                "search.algorithm must be random or zero_order, or start.inherit and start.insert 0"
            )
        if isinstance(search, PathsSearch) and steps < 2:
            raise ValueError("paths needs at least 2 steps")
        return self

    @property
    def asks_teachers(self) -> bool:
        """Whether the guide counts what the teachers find."""
        return asks_teachers(self.guide)
