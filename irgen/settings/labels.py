"""Section `labels`: boxes of the generated images."""

from typing import Literal

from pydantic import Field

from irgen.settings.common import Settings


class LabelsSettings(Settings):
    """Boxes of the generated images."""

    mode: Literal["auto", "teacher", "none"] = Field(
        "auto",
        description="auto: by the teachers, and from the frame where an image was started from one (samples.start); "
        "none where the source has no boxes. teacher: by the teachers alone. none: no boxes.",
    )
