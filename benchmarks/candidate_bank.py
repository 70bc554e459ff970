"""Recorded candidates: every noise of a prompt denoised once, its previews and its image scored by several judges.

Every keep rule of independent noises (random, halving, calibrated, an ensemble, set-level selection, drafts) chooses
among the same candidates. So they are recorded once, and each rule is then replayed for nothing, its NFE counted as
the search itself would count it. `tests/search/test_replay.py` holds that a replay keeps what the search keeps.
Work is cut into parts of a few prompts; a part that lies in its folder is not made again.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alternating  # noqa: F401  first: it sets the threads
import numpy as np
import torch

from irgen import files, generators, progress, seeds, settings
from irgen.search import Generator, Prompt, Verifier, lookahead, search
from irgen.search.noises import draw
from irgen.settings import BaseSettings, Settings
from irgen.verifiers import irscore, realism

PR_SET_PDEATHSIG = 1
BATCH = 48
PROMPTS_A_PART = 8
TRAINED = ("irscore", "own")
"""Judges that also score previews: IRSCORE of the verifier, and of the one that knows the generator's own samples."""


@dataclass(frozen=True)
class Setting:
    """What the recording processes need.

    Attributes:
        base, adapter: the generator.
        steps, guidance: of its denoising.
        verifiers: folder of each judge of `TRAINED`.
    """

    base: BaseSettings
    adapter: Path
    steps: int
    guidance: float
    verifiers: dict[str, Path]


@dataclass(frozen=True)
class Part:
    """Some prompts' candidates to record, or to search.

    Attributes:
        path: of the file.
        prompts: theirs.
        seed: of the dataset that these candidates would belong to.
        candidates: noises a prompt, of a bank.
        previewed: steps whose previews are scored, of a bank.
        first: number of the first noise.
        drafts: coarser denoisings, in steps, to score the same noises by.
        search: the settings of a search to run in place of a bank, as JSON; "" for a bank.
    """

    path: Path
    prompts: tuple[Prompt, ...]
    seed: int
    candidates: int
    previewed: tuple[int, ...] = ()
    drafts: tuple[int, ...] = ()
    search: str = ""
    first: int = 0

    @property
    def forwards(self) -> int:
        """About what it costs, in units of its candidates."""
        return len(self.prompts) * self.candidates


class _Search(Settings):
    search: settings.Search


class Recorder:
    """The models of one process."""

    def __init__(self, setting: Setting) -> None:
        torch.set_num_threads(1)
        self.setting = setting
        self.judges: dict[str, Verifier] = {
            name: irscore.IrScore.load(folder) for name, folder in setting.verifiers.items()
        }
        self.realism = realism.Realism.load(setting.verifiers[TRAINED[0]])
        self._engines: dict[int, Generator[Any]] = {}

    def engine(self, steps: int) -> Generator[Any]:
        """Return the generator of so many steps."""
        if steps not in self._engines:
            setting = self.setting
            self._engines[steps] = generators.load(setting.base, steps, setting.guidance, BATCH, setting.adapter)
        return self._engines[steps]

    def make(self, part: Part) -> dict[str, np.ndarray]:
        """Return what `part.path` shall hold."""
        if part.search:
            return self._searched(part)
        return record(
            self.engine(self.setting.steps),
            self.judges | {"realism": self.realism},
            part.prompts,
            part.candidates,
            part.seed,
            part.previewed,
            {steps: self.engine(steps) for steps in part.drafts},
            part.first,
        )

    def _searched(self, part: Part) -> dict[str, np.ndarray]:
        wanted = _Search.model_validate_json(part.search).search
        assert not isinstance(wanted, settings.CalibratedSearch)
        found = search(
            self.engine(self.setting.steps),
            self.judges[TRAINED[0]],
            part.prompts,
            wanted,
            seed=part.seed,
            attempt=0,
            batch=BATCH,
        )
        kept = [one.kept for one in found]
        images = [one.images[best.number] for one, best in zip(found, kept, strict=True) if best]
        captions = [prompt.caption for prompt in part.prompts]
        stacked = np.stack(images)
        return {
            "image": stacked[..., 0],
            **{name: judge.score(stacked, captions).value for name, judge in self.judges.items()},
            "realism": self.realism.score(stacked, captions).value,
            "nfe": np.array([one.nfe for one in found]),
        }


def record(
    generator: Generator[Any],
    judges: dict[str, Verifier],
    prompts: Sequence[Prompt],
    candidates: int,
    seed: int,
    previewed: Sequence[int],
    drafts: dict[int, Generator[Any]],
    first: int = 0,
) -> dict[str, np.ndarray]:
    """Denoise the noises that random search would draw, and score what is seen on the way.

    Returns:
        image uint8 [P, C, H, W] (the first channel: the judges' images are gray), and of each judge float64
        [P, C, steps seen]: previews, then the finished image. `realism` scores finished images alone. `draft<steps>`
        are the first judge's scores of coarser denoisings of the same noises, float64 [P, C].
    """
    conditions = generator.encode([prompt.text for prompt in prompts])
    jobs = [(row, number) for row in range(len(prompts)) for number in range(first, first + candidates)]
    seen: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(jobs), BATCH):
        chunk = jobs[start : start + BATCH]
        names = [seeds.derive(seed, prompts[row].index, f"noise/{number}", 0) for row, number in chunk]
        noise = torch.from_numpy(np.stack([draw(name, generator.latent_shape) for name in names]))
        rows, captions = [row for row, _ in chunk], [prompts[row].caption for row, _ in chunk]
        for name, values in _ways(generator, judges, conditions.take(rows), captions, noise, previewed).items():
            seen.setdefault(name, []).append(values)
        for steps, coarse in drafts.items():
            own = coarse.encode([prompts[row].text for row in dict.fromkeys(rows)])
            places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
            taken = own.take([places[row] for row in rows])
            images = coarse.decode(coarse.denoise(noise, taken, 0, steps).latents)
            seen.setdefault(f"draft{steps}", []).append(judges[TRAINED[0]].score(images, captions).value)
    return {name: np.concatenate(v).reshape(len(prompts), candidates, *v[0].shape[1:]) for name, v in seen.items()}


def _ways(
    generator: Generator[Any],
    judges: dict[str, Verifier],
    conditions: Any,
    captions: Sequence[str],
    noise: torch.Tensor,
    previewed: Sequence[int],
) -> dict[str, np.ndarray]:
    """Return what is seen of one batch: the images' first channel, and the scores [B, steps seen]."""
    scores: dict[str, list[np.ndarray]] = {name: [] for name in judges}
    latents, clean, at = noise, None, 0
    images = np.zeros(0)
    for step in (*previewed, generator.steps):
        latents, clean, shown = lookahead.advance(generator, latents, conditions, at, step, clean)
        at = step
        images = generator.decode(shown)
        for name, judge in judges.items():
            if name != "realism" or step == generator.steps:
                scores[name].append(judge.score(images, captions).value)
    return {"image": images[..., 0], **{name: np.stack(values, axis=1) for name, values in scores.items()}}


_recorder: Recorder


def _begin(setting: Setting, parent: int) -> None:
    global _recorder
    # A pool's processes outlive a killed parent, and go on computing what nobody will read.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    _recorder = Recorder(setting)


def _write(part: Part) -> int:
    arrays = _recorder.make(part)
    with files.placed(part.path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    return part.forwards


def complete(parts: Sequence[Part], setting: Setting, processes: int) -> None:
    """Make the parts that are missing, in some processes; each lies whole in its file, or not at all."""
    missing = [part for part in parts if not part.path.exists()]
    if not missing:
        return
    for part in missing:
        part.path.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(processes, context, _begin, (setting, os.getpid())) as pool,
        progress.bar("candidates", sum(part.forwards for part in missing)) as advance,
    ):
        for done in as_completed([pool.submit(_write, part) for part in missing]):
            advance(done.result())


def read(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """Return the arrays of parts, put together."""
    loaded = [dict(np.load(part.path, allow_pickle=False)) for part in parts]
    return {name: np.concatenate([one[name] for one in loaded]) for name in loaded[0]}


def parts(folder: Path, prompts: Sequence[Prompt], each: int = PROMPTS_A_PART, **what: Any) -> list[Part]:
    """Cut prompts into parts of a folder, of so many prompts each."""
    starts = range(0, len(prompts), each)
    return [Part(folder / f"{at:05d}.npz", tuple(prompts[at : at + each]), **what) for at in starts]


def halved(previews: np.ndarray, seen: Sequence[int], schedule: Sequence[tuple[int, int]]) -> tuple[np.ndarray, int]:
    """Replay a keep schedule on recorded scores.

    Args:
        previews: float64 [P, C, steps seen] of the judge that leads, the last of finished images; NaN where dead.
        seen: the steps.
        schedule: ((candidates, until_step), ...); cuts at steps that were seen.

    Returns:
        int64 [P] the kept candidate, and the forwards a prompt.
    """
    place = {step: column for column, step in enumerate(seen)}
    order = np.tile(np.arange(schedule[0][0]), (len(previews), 1))
    since = forwards = 0
    for count, until in schedule:
        order = order[:, :count]
        forwards += count * (until - since)
        since = until
        values = np.take_along_axis(previews[..., place[until]], order, axis=1)
        # Of equal scores the earlier candidate goes first, as on the bench; the dead last.
        worth = np.where(np.isnan(values), -np.inf, values)
        order = np.take_along_axis(order, np.lexsort((order, -worth), axis=1), axis=1)
    return order[:, 0], forwards
