"""Two detectors trained side by side: the first in this process, the second in one of its own.

Each has one thread. With more, sums are taken in another order, and what is learnt is another detector: so it matters
neither how many cores there are nor in which process one is trained. `python -m irgen.labels.side_by_side PLAN` is the
other process. It ends with this one and writes nothing but the detector; on stdout it tells how it fares, as a lane
does (`irgen.lane`).
"""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from irgen import devices, files, hosts, lane, progress
from irgen.errors import IrgenError
from irgen.hosts import LocalProcess
from irgen.labels import detectors, examples
from irgen.labels.detectors import Detector
from irgen.labels.examples import Examples
from irgen.lane import Message, Tell
from irgen.settings import DetectorSettings, TeachersSettings

COMMAND = (sys.executable, "-m", "irgen.labels.side_by_side")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TTY_COMPATIBLE": "0"}
"""Of the other process; the latter keeps its bars out of this one's on a terminal."""
PLAN, OTHER = "training.json", "trained"


class TrainingError(IrgenError):
    """The other process ended before its detector was trained."""


class Plan(BaseModel):
    """The work of the other process.

    Attributes:
        frames: output of stage frames, whose train frames it reads.
        size_px: width and height that these are resized to.
        teachers: the second of its detectors is trained.
        out: folder for the detector.
        parent: process without which it ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: Path
    size_px: tuple[int, int]
    teachers: TeachersSettings
    out: Path
    parent: int


def train(
    frames: Path, size_px: tuple[int, int], learnt: Examples, teachers: TeachersSettings, scratch: Path
) -> tuple[Detector, Detector]:
    """Train both; equal arguments give equal weights on a CPU, the same as one after the other would.

    Args:
        frames: output of stage frames.
        size_px: width and height of the images.
        learnt: its train frames at that size, as `examples.read` gives them for these settings.
        teachers: the two detectors, and what is read of the frames.
        scratch: folder for the other process's plan and detector.

    Raises:
        IrgenError: as `detectors.train`, of either.
        TrainingError: the other process ended too early.
    """
    first, second = teachers.detectors
    plan = Plan(frames=frames, size_px=size_px, teachers=teachers, out=scratch / OTHER, parent=os.getpid())
    with progress.bar("training teachers", first.steps + second.steps) as advance, _other(plan, scratch, advance) as it:

        def step(count: int) -> None:
            advance(count)
            it.hear()

        trained = _trained(learnt, first, _bar(step))
        it.join()
    return trained, detectors.load(plan.out)


def _trained(learnt: Examples, settings: DetectorSettings, bar: progress.Bar) -> Detector:
    with devices.one_thread():
        description = f"teacher: {settings.architecture}"
        return detectors.train(learnt.lwir_u8, learnt.boxes, settings, description=description, bar=bar)


def _bar(step: progress.Advance) -> progress.Bar:
    """Return a bar that shows nothing itself."""

    @contextmanager
    def bar(description: str, total: int) -> Iterator[progress.Advance]:
        yield step

    return bar


class _Other:
    """The other process, as this one sees it.

    Args:
        process: just started.
        advance: called with the steps that it has done.
        description: of its work, for errors.
    """

    def __init__(self, process: LocalProcess, advance: progress.Advance, description: str) -> None:
        self._process = process
        self._advance = advance
        self._description = description
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._ended = False
        self._last_words = ""
        hosts.listen(process, self._messages.put)

    def hear(self) -> None:
        """Take in what it has said since, without waiting.

        Raises:
            IrgenError: what it found wrong.
            TrainingError: it ended too early.
        """
        while not self._messages.empty():
            self._take(self._messages.get())

    def join(self) -> None:
        """Take in all that it says, until it ends; raises as `hear`."""
        while not self._ended:
            self._take(self._messages.get())

    def _take(self, message: Message | None) -> None:
        if message is None:
            self._ended = True
            if failure := self._process.failure():
                raise TrainingError(
                    f"{self._description}: its process ended ({self._last_words or failure})",
                    "Where memory was short, read fewer frames (teachers.train_frames); then run the same again.",
                )
        elif message["kind"] == "steps":
            self._advance(message["count"])
        elif message["kind"] == "refused":
            raise lane.refusal(message)
        else:
            self._last_words = message["text"]


@contextmanager
def _other(plan: Plan, scratch: Path, advance: progress.Advance) -> Iterator[_Other]:
    """Start the other process; whatever happens in the block, it has ended after it."""
    files.write_bytes(scratch / PLAN, plan.model_dump_json().encode())
    process = LocalProcess([*COMMAND, str(scratch / PLAN)], ENVIRONMENT)
    try:
        yield _Other(process, advance, f"teacher: {plan.teachers.detectors[1].architecture}")
    finally:
        process.kill()
        process.wait()


def main(path: Path) -> int:
    """Train the plan's detector and return the exit code."""
    plan = Plan.model_validate_json(path.read_bytes())
    lane.die_with(plan.parent)
    tell = lane.speaker()
    return lane.outcome(tell, lambda: _work(plan, tell))


def _work(plan: Plan, tell: Tell) -> None:
    def step(count: int) -> None:
        tell({"kind": "steps", "count": count})

    asked = plan.teachers
    learnt = examples.read(plan.frames, "train", asked.train_frames, asked.classes, plan.size_px, asked.seed)
    _trained(learnt, asked.detectors[1], _bar(step)).save(plan.out)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
