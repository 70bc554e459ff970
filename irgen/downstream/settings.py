"""What a downstream study is asked."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from irgen.settings import IGNORE, DetectorSettings, Settings

REAL = "real"
GRAYSCALE = "real + grayscale"


class DownstreamSettings(Settings):
    """Detectors trained with and without generated images, all for the same number of steps, judged on real frames."""

    detector: DetectorSettings = Field(
        DetectorSettings(channels=32, steps=1000, batch_size=8, learning_rate=1e-3),
        description="Trained anew for every arm, size and seed.",
    )
    shares: tuple[float, ...] = Field(
        (0.1, 0.3, 1.0), description="Of the real train frames, each 0 to 1; whole videos but for the last one."
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="Of the detectors, and of the real frames.")
    real_in_batch: float = Field(
        0.5, gt=0, lt=1, description="Share of real images in what a detector sees, however many there are."
    )
    real_last: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the steps, the last ones, that see real images alone where there are any.",
    )
    classes: dict[str, str] = Field(
        {"people": IGNORE, "person?": IGNORE}, description="The source's class -> name that is learnt, or `ignore`."
    )
    test_split: str = Field("test", pattern="^(val|test)$", description="Split of the frames that judge.")
    min_score: float = Field(0.0, ge=0, le=1, description="Generated boxes under it become ignore boxes.")
    min_agreement: float = Field(0.0, ge=0, le=1, description="Images that fit their caption less are left out.")
    least_height: float = Field(
        55 / 512, ge=0, lt=1, description="Of the persons of the miss rate, as share of the image's height."
    )
    width_px: int = Field(96, ge=32, description="Width that all images are resized to.")
    height_px: int = Field(80, ge=32, description="Height that all images are resized to.")
    resamplings: int = Field(300, ge=1, description="Of videos and seeds, for the intervals.")
    seed: int = Field(0, ge=0, description="Of the choices of frames and of the resamplings.")

    @field_validator("shares")
    @classmethod
    def _rising(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or list(shares) != sorted(set(shares)) or not (shares[0] > 0 and shares[-1] <= 1):
            raise ValueError("shares must rise, above 0 and up to 1")
        return shares

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed occurs twice")
        return seeds


class Generated(Settings):
    """A dataset that the study tries.

    `alone` asks for an arm without any real frame, too.
    """

    name: str = Field(min_length=1, description='Of its arm, "real + NAME".')
    path: Path = Field(description="A dataset's folder, or one output of stage shards.")
    alone: bool = Field(False, description="Also train on these images only.")
