"""Which caption each image of a dataset has, and what it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from irgen import records, seeds
from irgen.captions import forms
from irgen.errors import StoreError
from irgen.recording import Plan
from irgen.records import Caption
from irgen.settings import SamplesSettings
from irgen.starting import FROM_NOISE, INSERT, Starts

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Plans(Sequence[Plan]):
    """The plan of a dataset's images, each made when it is asked for: a million take four megabytes.

    Attributes:
        rows: captions to choose from.
        order: of each image, which of them; int32 [images].
        starts: what images start from, where some do not start from noise.
        captions: output of stage captions.
    """

    rows: Sequence[Caption]
    order: npt.NDArray[np.int32]
    starts: Starts | None
    captions: Path

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, place: int) -> Plan: ...
    @overload
    def __getitem__(self, place: slice) -> list[Plan]: ...
    def __getitem__(self, place: int | slice) -> Plan | list[Plan]:
        if isinstance(place, slice):
            return [self._plan(index) for index in range(len(self))[place]]
        return self._plan(range(len(self))[place])

    def _plan(self, index: int) -> Plan:
        from irgen.search import Prompt

        row = self.rows[self.order[index]]
        start = self.starts.choose(index, row.frame_id) if self.starts else FROM_NOISE
        inserted = self.starts and start.mode == INSERT
        text = self.starts.caption(start, self.captions) if self.starts and inserted else row.caption
        return Plan(Prompt(index, forms.infrared(text), text), start.frame_id or row.frame_id, start)


def plan(captions: Path, samples: SamplesSettings, starts: Starts | None = None) -> Plans:
    """Choose a prompt for each image: train captions in rounds, each round in its own seeded order, or by a mix.

    Raises:
        StoreError: there is no caption of the train split.
        SettingsError: a mix that these captions cannot give.
    """
    rows = [row for row in records.read_rows(captions / "captions.parquet", Caption) if row.split == "train"]
    if not rows:
        raise StoreError(f"{captions}: no caption of the train split", "Give the source frames of its training sets.")
    return Plans(rows, _order([row.caption for row in rows], samples), starts, captions)


def _order(captions: Sequence[str], samples: SamplesSettings) -> npt.NDArray[np.int32]:
    """Return which caption each image has."""
    if samples.mix:
        from irgen import balance

        return np.array(balance.choose(captions, samples.images, samples.mix, samples.seed), np.int32)
    rounds = range(-(-samples.images // len(captions)))
    orders = [seeds.generator(samples.seed, one, "plan").permutation(len(captions)) for one in rounds]
    return np.concatenate(orders).astype(np.int32)[: samples.images]
