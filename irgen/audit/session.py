"""An audit under way: which images are looked at, and what was said of each so far.

It lies beside the dataset's stages, in `audits/<digest of images and boxes>/`: `answers.json`, rewritten whole with
every answer, and `audit.json`, the figures that cards quote. Other boxes are another audit.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from irgen import files, seeds
from irgen.audit import figures
from irgen.audit.answers import ANSWERS, Answer, Answers, Labels
from irgen.errors import SettingsError, StoreError
from irgen.records import LabelledBox
from irgen.shards import evidence
from irgen.shards.dataset import Dataset, flaw, image_of


class BadAnswerError(SettingsError):
    """An answer that does not fit its image."""


@dataclass(frozen=True)
class Subject:
    """An image to look at.

    Attributes:
        key: its name.
        caption: what it should show.
        agreement: of its boxes with the caption.
        width_px, height_px: its size.
        boxes: found in it.
    """

    key: str
    caption: str
    agreement: float
    width_px: int
    height_px: int
    boxes: tuple[LabelledBox, ...]


class Session:
    """The images of an audit and their answers, saved as they come.

    Attributes:
        dataset: what is looked at.
        folder: where the audit lies.
        path: of its answers.
        subjects: by key, in the order in which they are shown.
        answers: by key.
    """

    def __init__(self, dataset: Dataset, count: int, seed: int = 0) -> None:
        if not dataset.labelled:
            raise StoreError(f"{dataset.folder}: nobody labelled its images", "Ask for labels in its manifest.")
        if count < 1:
            raise SettingsError(f"n = {count}: an audit needs an image", "Two hundred give intervals of a few points.")
        self.dataset = dataset
        self.folder = evidence.audit_folder(dataset)
        self.path = self.folder / ANSWERS
        self._lock = threading.Lock()
        # A larger audit goes on with a smaller one: its images are the first of the same order.
        order = seeds.generator(seed, 0, "audit").permutation(len(dataset.index))[:count]
        self._rows = {row["key"]: row for row in dataset.index.take(order).to_pylist()}
        self.subjects = {key: _subject(row, self.image(key)) for key, row in self._rows.items()}
        self._saved = _carried_on(self.path, seed)
        self.answers = self._saved.answers

    def answer(self, key: str, document: Any) -> None:
        """Take an answer and save it before returning.

        Raises:
            BadAnswerError: no such image, or the answer does not fit it.
        """
        if key not in self.subjects:
            raise BadAnswerError(f"the audit has no image {key!r}")
        answer = _checked(self.subjects[key], self.dataset.classes, document)
        with self._lock:
            self.answers[key] = answer
            self._saved.labels[key] = _labels(self.subjects[key])
            self._saved.write(self.path)
            files.write_json(self.folder / evidence.AUDIT, self.figures())

    def figures(self) -> dict[str, Any]:
        """Return what the answers so far say; see `irgen.audit.figures.measure`."""
        labels = {key: _labels(subject) for key, subject in self.subjects.items()}
        return figures.measure(figures.judged(self.answers, labels))

    def image(self, key: str) -> bytes:
        """Return an image's encoded file.

        Raises:
            StoreError: it was changed.
        """
        return image_of(self.dataset.place, self._rows[key])


def _carried_on(path: Path, seed: int) -> Answers:
    """Return the answers so far."""
    if not path.exists():
        return Answers(seed=seed, answers={}, labels={})
    saved = Answers.read(path)
    if saved.seed != seed:
        raise SettingsError(f"{path}: begun with --seed {saved.seed}, not {seed}", f"Use --seed {saved.seed}.")
    return saved


def _labels(subject: Subject) -> Labels:
    return Labels(boxes=subject.boxes, agreement=subject.agreement)


def _subject(row: Mapping[str, Any], encoded: bytes) -> Subject:
    with Image.open(io.BytesIO(encoded)) as image:
        size_px = image.size
    boxes = tuple(LabelledBox(**box) for box in row["boxes"])
    return Subject(row["key"], row["caption"], row["agreement"], *size_px, boxes)


def _checked(subject: Subject, classes: list[str], document: Any) -> Answer:
    try:
        answer = Answer.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadAnswerError(f"image {subject.key}: {where}: {first['msg']}") from error
    if len(answer.verdicts) != len(subject.boxes):
        raise BadAnswerError(f"image {subject.key}: {len(answer.verdicts)} verdicts on {len(subject.boxes)} boxes")
    if answer.done and any(each.verdict == "open" for each in answer.verdicts):
        raise BadAnswerError(f"image {subject.key}: done, but a box is open")
    for place in (*(each.place for each in answer.verdicts), *answer.added):
        box = LabelledBox(**place.model_dump(), score=1.0, source="audit", teacher_iou=0.0, ignore=False)
        if reason := flaw(box, subject.width_px, subject.height_px, classes):
            raise BadAnswerError(f"image {subject.key}: {reason[1]}")
    return answer
