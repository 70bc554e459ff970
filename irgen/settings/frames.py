"""Section `frames`: where frames come from."""

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from irgen import extensions
from irgen.settings.common import MINIATURE, Settings

SOURCES = ("kaist", "roadscene", "hit-uav", "folder", MINIATURE)
"""What comes with irgen; packages may bring others."""

LWIR_ALONE = ("hit-uav", "folder")
WITHOUT_BOXES = ("roadscene", "folder")
"""What their frames lack: visible images, boxes."""


class MiniatureScenes(Settings):
    """How many procedural scenes the miniature source draws."""

    train: int = Field(1200, ge=8, description="Scenes in sets 00 to 05.")
    test: int = Field(512, ge=8, description="Scenes in sets 06 to 11.")
    seed: int = Field(0, ge=0, description="Another seed, other scenes.")


def _sources(schema: dict[str, Any]) -> None:
    """List the sources, of which Prefect's form then offers one to choose."""
    schema["enum"] = [*SOURCES, *extensions.names(extensions.SOURCES)]


class FramesSettings(Settings):
    """Where frames come from."""

    source: str = Field(
        description=f"Adapter that reads the raw data: {', '.join(SOURCES)}, or one that an installed package brings.",
        json_schema_extra=_sources,
    )
    root: str = Field("", description="Folder of the raw data; empty for the miniature, which draws its own.")
    annotations: str = Field(
        "", description="Folder or .tar.gz of annotations; empty takes what lies beside the images (improved first)."
    )
    image_sets: tuple[str, ...] = Field(
        (), description="List files of frame ids (KAIST's imageSets); only those frames are taken."
    )
    annotations_only: bool = Field(False, description="Read annotations alone, without images.")
    val_fraction: float = Field(0.15, ge=0, lt=0.5, description="Share of the training videos kept for calibration.")
    test_fraction: float = Field(
        0.25, ge=0, lt=1, description="Share of videos kept for testing, in sources without an official split."
    )
    ignore_labels: tuple[str, ...] = Field(("people", "person?"), description="Classes whose boxes are marked ignore.")
    scenes: MiniatureScenes = Field(MiniatureScenes(), description="Only for the miniature source.")

    @field_validator("source")
    @classmethod
    def _source_is_there(cls, source: str) -> str:
        if source not in SOURCES and source not in (more := extensions.names(extensions.SOURCES)):
            raise ValueError(f"no such source; there are {', '.join([*SOURCES, *more])}")
        return source

    @model_validator(mode="after")
    def _root_fits_source(self) -> Self:
        if self.source == "miniature" and (self.root or self.annotations or self.image_sets or self.annotations_only):
            raise ValueError("source miniature draws its own frames: leave root, annotations and image_sets empty")
        if self.source != "miniature" and not (self.root or (self.annotations_only and self.annotations)):
            raise ValueError(f"source {self.source} needs `root`, the folder of its raw data")
        if self.source != "miniature" and self.scenes != MiniatureScenes():
            raise ValueError(f"`scenes` is for the miniature source, not for {self.source}")
        return self
