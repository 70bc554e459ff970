"""The bench that every algorithm works at: it begins candidates, takes them on, scores them and keeps the books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Generic, NamedTuple

import numpy as np
import torch

from irgen.search import lookahead, noises
from irgen.search.candidates import Candidate, Found, Unguided
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Recipe

FLAT_SD = 1.0
"""An image whose grey levels have a smaller standard deviation (of 255) shows nothing."""
SATURATED_SHARE = 0.98
"""An image of which so much is wholly black or wholly white shows nothing either, whatever its standard deviation."""
NAN = float("nan")


@dataclass(slots=True)
class Track:
    """A candidate under way.

    Attributes:
        row: of its prompt.
        number: of the candidate.
        step: reached.
        latents: float32 [*latent_shape] at that step; None before they are drawn, and once the image is finished.
        clean: the last forward's estimate of the image; None before the first.
    """

    row: int
    number: int
    step: int = 0
    latents: torch.Tensor | None = None
    clean: torch.Tensor | None = None


class Seen(NamedTuple):
    """What came of one track's way: its image or preview, uint8 [height, width, 3], and the verdict on it."""

    image: np.ndarray
    score: float
    parts: dict[str, float]
    dead: str


class Bench(Generic[C]):
    """One search for several prompts. Nothing in it depends on the batch, the prompts' order or their company.

    Attributes:
        generator: makes the images; its `nfe` counts.
        verifier: scores them.
        conditions: of the prompts, a row each; each text is encoded once.
        found: what there is so far, a prompt each, in their order.
    """

    def __init__(
        self,
        generator: Generator[C],
        verifier: Verifier,
        prompts: Sequence[Prompt],
        batch: int,
        all_images: bool = False,
    ) -> None:
        """Encode the prompts; `batch` is how many images are made at once, `all_images` whether all finished stay."""
        self.generator = generator
        self.verifier = verifier
        self.conditions = generator.encode([prompt.text for prompt in prompts])
        self.found = [Found(prompt, all_images=all_images) for prompt in prompts]
        self._batch = batch
        self._firsts: dict[int, Track] = {}

    def begin(self, row: int, recipe: Recipe, step: int = 0, latents: torch.Tensor | None = None) -> Track:
        """Enter a candidate of a prompt; without latents its noise is made by the recipe when it is first needed."""
        found = self.found[row]
        track = Track(row, len(found.candidates), step, latents)
        found.candidates.append(Candidate(track.number, recipe, step, NAN, NAN, {}, 0, ""))
        self._firsts.setdefault(row, track)
        return track

    def advance(self, tracks: Sequence[Track], to_step: int) -> None:
        """Denoise tracks to a step and score what is there: the image at the end, a clean-image preview before."""
        finished = to_step == self.generator.steps
        for chunk in self._chunks(tracks):
            spent = (to_step - chunk[0].step) * self.generator.nfe_per_forward
            for track, seen in zip(chunk, self._seen(chunk, to_step), strict=True):
                found = self.found[track.row]
                candidate = replace(
                    self.candidate(track),
                    step=to_step,
                    parts=seen.parts,
                    nfe=self.candidate(track).nfe + spent,
                    dead=seen.dead,
                )
                if finished:
                    found.finish(replace(candidate, score=seen.score), seen.image)
                else:
                    found.candidates[track.number] = replace(candidate, preview=seen.score)
                    found.previews += 1

    def candidate(self, track: Track) -> Candidate:
        """Return a track's record."""
        return self.found[track.row].candidates[track.number]

    def best(self, tracks: Sequence[Track], count: int) -> list[Track]:
        """Return each prompt's live tracks with the best previews, of equal ones the earlier."""
        kept: list[Track] = []
        for row in range(len(self.found)):
            own = [track for track in tracks if track.row == row and not self.candidate(track).dead]
            own.sort(key=lambda track: (-self.candidate(track).preview, track.number))
            kept += own[:count]
        return kept

    def done(self) -> list[Found]:
        """Finish first candidates that the search cut, for comparison's sake, and return what was found."""
        cut = [
            track
            for row, track in self._firsts.items()
            if self.found[row].kept and track.step < self.generator.steps and not self.candidate(track).dead
        ]
        for chunk in self._chunks(cut):
            nfe = (self.generator.steps - chunk[0].step) * self.generator.nfe_per_forward
            for track, seen in zip(chunk, self._seen(chunk, self.generator.steps), strict=True):
                if not seen.dead:
                    self.found[track.row].finished_later = Unguided(seen.score, seen.image, nfe)
        return self.found

    def noise(self, track: Track) -> torch.Tensor:
        """Return a track's latents, drawn where it is at its beginning."""
        if track.latents is None:
            track.latents = torch.from_numpy(noises.make(self.candidate(track).recipe, self.generator.latent_shape))
        return track.latents

    def _seen(self, chunk: Sequence[Track], to_step: int) -> list[Seen]:
        """Denoise tracks that are at one step; return what is seen there."""
        latents = torch.stack([self.noise(track) for track in chunk])
        conditions = self.conditions.take([track.row for track in chunk])
        estimates = [track.clean for track in chunk if track.clean is not None]
        before = torch.stack(estimates) if estimates else None
        reached = lookahead.advance(self.generator, latents, conditions, chunk[0].step, to_step, before)
        finished = to_step == self.generator.steps
        images = self.generator.decode(reached.shown)
        scores = self.verifier.score(images, [self.found[track.row].prompt.caption for track in chunk])
        finite = torch.isfinite(reached.latents).flatten(1).all(dim=1).tolist()
        seen = []
        for place, track in enumerate(chunk):
            track.step = to_step
            track.latents, track.clean = (None, None) if finished else (reached.latents[place], reached.clean[place])
            score = float(scores.value[place])
            reason = scores.reasons[place] if scores.reasons else ""
            # Early previews may well be flat: only a finished image has to show something.
            shows_nothing = _shows_nothing(images[place]) if finished else ""
            dead = _why_dead(finite[place], shows_nothing, score, reason)
            parts = {name: float(values[place]) for name, values in scores.parts.items()}
            seen.append(Seen(images[place], NAN if dead else score, parts, dead))
        return seen

    def _chunks(self, tracks: Sequence[Track]) -> Iterator[list[Track]]:
        """Yield tracks that are at one step, at most a batch of them; with an estimate of the image all or none."""

        def place(track: Track) -> tuple[int, bool]:
            return track.step, track.clean is None

        for _, group in groupby(sorted(tracks, key=place), key=place):
            together = list(group)
            for start in range(0, len(together), self._batch):
                yield together[start : start + self._batch]


def _shows_nothing(image_u8: np.ndarray) -> str:
    """Return the word for an image, uint8 [H, W, 3], in which nothing can be seen, "" for others."""
    if float(image_u8.std()) < FLAT_SD:
        return "flat image"
    clipped = np.count_nonzero((image_u8 == 0) | (image_u8 == 255)) / image_u8.size
    return "saturated image" if clipped >= SATURATED_SHARE else ""


def _why_dead(finite: bool, shows_nothing: str, score: float, reason: str) -> str:
    if not finite:
        return "latents not finite"
    if shows_nothing:
        return shows_nothing
    if not np.isfinite(score):
        return reason or "score not finite"
    return ""
