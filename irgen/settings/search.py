"""Section `samples.search`: the algorithm and its budget."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from irgen import extensions
from irgen.settings.common import Settings, any_of
from irgen.settings.extension import Extension


class RandomSearch(Settings):
    """Best of N noises. NFE = candidates x steps."""

    algorithm: Literal["random"] = "random"
    candidates: int = Field(12, ge=1, description="Noises a prompt.")


class ZeroOrderSearch(Settings):
    """Hill climbing among a pivot's neighbours. NFE = steps x (warm_start + neighbours x iterations)."""

    algorithm: Literal["zero_order"] = "zero_order"
    warm_start: int = Field(4, ge=1, description="Random noises at first; the best is the first pivot.")
    neighbours: int = Field(4, ge=1, description="Noises around the pivot, each iteration.")
    iterations: int = Field(2, ge=1, description="Times the pivot moves to the best noise so far.")
    cosine: float | None = Field(
        0.7,
        ge=0,
        lt=1,
        description="Between pivot and neighbour; larger is a smaller step. Empty: the best of some, tried beforehand.",
    )
    prompts: int = Field(20, ge=2, description="On which an empty cosine is chosen: five searches of each.")

    @property
    def tries_cosines(self) -> bool:
        """Whether the cosine is chosen by trying some, before the first image."""
        return self.cosine is None


class PathsSearch(Settings):
    """Search over paths: noise what is nearly an image afresh, go down again, keep the best previews.

    Noise levels, 1 noise to 0 image, stand for shares of the steps: sigma is step round(steps x (1 - sigma)). The
    defaults spend 328 NFE at 28 steps.
    """

    algorithm: Literal["paths"] = "paths"
    paths: int = Field(2, ge=1, description="N: paths that are kept.")
    renoisings: int = Field(3, ge=1, description="M: fresh noises on each path, each round.")
    length: int = Field(2, ge=1, description="Rounds, at most: a path that arrives at the image ends.")
    sigma: float = Field(0.11, gt=0, lt=1, description="Noise level down to which the first noises go.")
    forward: float = Field(0.78, gt=0, lt=1, description="Noise level added each round.")
    backward: float = Field(0.81, gt=0, lt=1, description="Noise level taken away again each round.")

    @model_validator(mode="after")
    def _rounds_lead_down(self) -> Self:
        if self.sigma + self.forward >= 1:
            raise ValueError(f"sigma + forward = {self.sigma + self.forward:g} must be under 1, which is pure noise")
        if self.backward <= self.forward:
            raise ValueError(f"backward = {self.backward} must be above forward = {self.forward}, or no path ends")
        return self


class FirstOrderSearch(Settings):
    """Gradient ascent on the noise. NFE <= steps x (warm_start + iterations) + 4 x gradient_steps x iterations."""

    algorithm: Literal["first_order"] = "first_order"
    warm_start: int = Field(4, ge=1, description="Random noises at first; the best is the first pivot.")
    iterations: int = Field(7, ge=1, description="Steps uphill, each from the best noise so far.")
    gradient_steps: int = Field(
        1,
        ge=1,
        description="Last denoising steps the gradient goes through; each costs a forward and 3 for the way back.",
    )
    rate: float = Field(
        0.3, gt=0, description="Length of a step as a share of the noise's; halved where it did not lead uphill."
    )


class HalvingSearch(Settings):
    """Many candidates at first; those with the worst previews are cut. NFE = sum of candidates x steps they go on."""

    algorithm: Literal["halving"] = "halving"
    schedule: tuple[tuple[int, int], ...] = Field(
        ((20, 10), (12, 18), (4, 28)),
        min_length=1,
        description="[candidates, until_step], ...: fewer candidates and later steps each time, the last at the end.",
    )

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        counts, steps = zip(*self.schedule, strict=True)
        if counts[-1] < 1 or any(after >= before for before, after in pairwise(counts)):
            raise ValueError(f"candidates must fall from stage to stage, to 1 or more, not {list(counts)}")
        if steps[0] < 1 or any(after <= before for before, after in pairwise(steps)):
            raise ValueError(f"until_step must rise from stage to stage, from 1 or more, not {list(steps)}")
        return self


class CalibratedSearch(Settings):
    """Halving by a schedule that is chosen on previews of this generator under this verifier, or else best of N."""

    algorithm: Literal["calibrated"] = "calibrated"
    nfe: int = Field(336, ge=1, description="Budget of an image.")
    prompts: int = Field(20, ge=2, description="Prompts whose previews the choice is made on.")
    noises: int = Field(32, ge=2, description="Noises of each of them; calibration costs prompts x noises x steps NFE.")


class ExtensionSearch(Extension):
    """An algorithm that an installed package brings; NFE is what it says."""

    GROUP: ClassVar[str] = extensions.SEARCHES
    algorithm: Literal["extension"] = "extension"


SettledSearch = RandomSearch | ZeroOrderSearch | PathsSearch | FirstOrderSearch | HalvingSearch | ExtensionSearch
"""Searches whose schedule is known."""
Search = Annotated[SettledSearch | CalibratedSearch, Field(discriminator="algorithm", json_schema_extra=any_of)]


def algorithm_of(search: Search) -> str:
    """Return what a search is called on score sheets."""
    return search.extension if isinstance(search, ExtensionSearch) else search.algorithm
