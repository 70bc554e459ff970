"""A lane: one process that makes shards of one output until none is missing, its models loaded once.

`python -m irgen.lane PLAN` is what `irgen.lanes` starts, one a GPU. Which shard is whose the lanes settle among
themselves, by lock and commit record; a killed lane costs the shard that it was at. On stdout it tells its parent how
it fares, one JSON object a line (`Message`); whatever else is printed goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

from irgen import errors, pipeline, streams
from irgen.errors import IrgenError, UnreachableError
from irgen.progress import Advance
from irgen.settings import Manifest

HEARTBEAT_S = 5.0
PR_SET_PDEATHSIG = 1
FAILED, REFUSED, STOPPED = 1, 2, 143
"""Exit codes: try again; do not, the settings or data are wrong; it was asked to end."""

Message = dict[str, Any]
"""`kind` and what belongs to it.

alive: memory_mb, the most it has held. begun: count, of the images that are missing. images: count, finished since the
last. shard: number, committed.
Of a rank: begun: what, count. done: what, count, since the last. ended: what.
log: level, text. refused: error (its class), what, fix. failed: text.
"""
Tell = Callable[[Message], None]


class ShardedStage(Protocol):
    """What the module of a stage has whose output is made in lanes.

    `make_shards` takes what the stage's `run` takes and makes the shards that are missing and that nobody else is at.
    `bar` is called as `progress.bar`, `committed` with the number of each shard; `exchange` is as in `Plan`.
    """

    def make_shards(self, **arguments: Any) -> None: ...  # noqa: D102


class Plan(BaseModel):
    """The work of a lane: a stage's output, and all that decides it.

    Attributes:
        stage: name of the stage.
        sections: the settings that it obeys, by name.
        inputs: folders that it reads, by name of the stage that made them.
        out: folder to write.
        parent: process without which the lane ends.
        exchange: address of the output on object storage, where the lanes share no folder with the parent; then the
            inputs are addresses, too, and `out` is the folder on the parent's machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    sections: dict[str, dict[str, Any]]
    inputs: dict[str, str]
    out: str
    parent: int
    exchange: str = ""

    def arguments(self) -> dict[str, Any]:
        """Return what the stage's functions take."""
        sections = {name: Manifest.model_fields[name].annotation for name in self.sections}
        models = {name: model.model_validate(self.sections[name]) for name, model in sections.items() if model}
        return {**models, **{name: Path(path) for name, path in self.inputs.items()}, "out": Path(self.out)}


def work(plan: Plan, tell: Tell) -> None:
    """Make shards until none is missing.

    Args:
        plan: what to make.
        tell: called with each message, from two threads.

    Raises:
        IrgenError: as the stage.
    """
    with beating(tell):
        if plan.exchange:
            from irgen import exchange  # most lanes need none of it

            inputs, out = exchange.unpacked(plan.inputs, plan.out)
            plan = plan.model_copy(update={"inputs": inputs, "out": out})
        cast(ShardedStage, pipeline.stage_named(plan.stage).module()).make_shards(
            **plan.arguments(),
            exchange=plan.exchange,
            bar=functools.partial(_bar, tell),
            committed=lambda number: tell({"kind": "shard", "number": number}),
        )


def main(path: Path, work: Callable[[Plan, Tell], None] = work) -> int:
    """Work a plan off and return the exit code."""
    plan = Plan.model_validate_json(path.read_bytes())
    die_with(plan.parent)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    tell = speaker()
    logger = logging.getLogger("irgen")
    logger.addHandler(_Told(tell))
    logger.setLevel(logging.INFO)
    logger.propagate = False  # some library may have given the root a handler; the parent shows these lines
    with streams.unbreaking():
        return outcome(tell, lambda: work(plan, tell))


def outcome(tell: Tell, work: Callable[[], None]) -> int:
    """Do a process's work and return its exit code; the parent is told what went wrong."""
    try:
        work()
    except UnreachableError as error:  # no reason to end those whom it answers
        tell({"kind": "failed", "text": error.what})
        return FAILED
    except IrgenError as error:
        tell({"kind": "refused", "error": type(error).__name__, "what": error.what, "fix": error.fix})
        return REFUSED
    except Exception as error:
        tell({"kind": "failed", "text": f"{type(error).__name__}: {error}"})
        logging.getLogger("irgen").debug("", exc_info=error)
        return FAILED
    return 0


@contextlib.contextmanager
def _bar(tell: Tell, description: str, total: int) -> Iterator[Advance]:
    tell({"kind": "begun", "count": total})
    yield lambda count: tell({"kind": "images", "count": count})


class _Told(logging.Handler):
    """Hands log lines to the parent, which knows where they belong."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell({"kind": "log", "level": record.levelno, "text": record.getMessage()})


def refusal(message: Message) -> IrgenError:
    """Return the error that a process says, in a message "refused", it ended with."""
    kind: type[IrgenError] = getattr(errors, message["error"], IrgenError)
    return kind(message["what"], message["fix"])


def speaker() -> Tell:
    """Keep stdout for messages; what libraries print goes to stderr from here on."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(message: Message) -> None:
        with lock:
            stream.write(json.dumps(message) + "\n")
            stream.flush()

    return tell


@contextlib.contextmanager
def beating(tell: Tell) -> Iterator[None]:
    """Give signs of life meanwhile."""
    ended = threading.Event()
    threading.Thread(target=_beat, args=(tell, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _beat(tell: Tell, ended: threading.Event) -> None:
    while True:
        tell({"kind": "alive", "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
        if ended.wait(HEARTBEAT_S):
            return


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the parent is gone, which loses no more than a shard."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(STOPPED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
