"""What was said of an audit's images, and of which boxes: a file from which alone the figures can be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from irgen import files
from irgen.errors import StoreError
from irgen.records import LabelledBox

ANSWERS = "answers.json"


class Place(BaseModel):
    """Where somebody sees an object: class, left and top edge, extent, in the image's pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str
    x_px: float
    y_px: float
    w_px: float
    h_px: float


class Verdict(BaseModel):
    """What somebody says of a box: `fix` has its right place, all others the box's own. `open` is not said yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["open", "accept", "fix", "reject"]
    place: Place


class Answer(BaseModel):
    """What somebody says of an image.

    Attributes:
        verdicts: of each of its boxes, in their order.
        added: objects without a box.
        done: nothing is missing any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdicts: tuple[Verdict, ...]
    added: tuple[Place, ...] = ()
    done: bool = False


class Labels(BaseModel):
    """What an answer is about.

    Attributes:
        boxes: found in the image.
        agreement: of them with the caption, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    boxes: tuple[LabelledBox, ...]
    agreement: float


class Answers(BaseModel):
    """All that was said in an audit.

    Attributes:
        seed: of the choice of images.
        answers: by the image's key.
        labels: of the same images.
    """

    model_config = ConfigDict(extra="forbid")

    seed: int
    answers: dict[str, Answer]
    labels: dict[str, Labels]

    @model_validator(mode="after")
    def _each_box_has_its_verdict(self) -> Self:
        for key, answer in self.answers.items():
            if key not in self.labels or len(answer.verdicts) != len(self.labels[key].boxes):
                raise ValueError(f"image {key}: not a verdict a box")
        return self

    @classmethod
    def read(cls, path: Path) -> Answers:
        """Read what `write` wrote.

        Raises:
            StoreError: no such file, or a damaged one.
        """
        try:
            return cls.model_validate(json.loads(path.read_bytes()))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except (OSError, ValueError) as error:
            reason = str(error)
        raise StoreError(f"{path}: damaged ({reason})", "Remove it to begin anew.")

    def write(self, path: Path) -> None:
        """Write the file whole."""
        files.write_json(path, self.model_dump(mode="json"))
