"""Lanes side by side: several processes that make the shards of one output, watched and replaced.

A lane has one GPU of its own or, without any, its share of the cores, on this machine or on a cluster (`irgen.hosts`).
It loads its models once and takes shards that no other is at. What a lane was making when it died, another makes; the
lane is started again. All end with this process.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irgen import files, hosts, progress
from irgen.errors import IrgenError
from irgen.hosts import Host, Hosts, LocalHosts, Process
from irgen.lane import Message, Plan, refusal

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "irgen.lane")
RESTARTS = 3
"""Times in a row that a lane is started again without a shard made; then the others go on without it."""

SILENT_S = 120.0
"""A lane without a heartbeat for so long is killed, as if it had died."""

PLACE_S = 900.0
"""Without a single lane that has a place for so long, the run fails: clusters that grow take minutes."""

TELL_EVERY_S = 5.0
LOCAL = LocalHosts()


class LaneError(IrgenError):
    """Shards are missing, and no lane is left to make them."""


@dataclass(frozen=True)
class LaneState:
    """How a lane fares.

    Attributes:
        number: 0, 1, ...
        device: what it has, as its host says.
        running: whether its process lives.
        images: finished by it.
        shards: committed by it.
        images_per_s: since it began.
        memory_mb: the most that its process has held in main memory.
        starts: processes that it took so far.
    """

    number: int
    device: str
    running: bool
    images: int
    shards: int
    images_per_s: float
    memory_mb: float
    starts: int


@dataclass(frozen=True)
class Progress:
    """How the work fares.

    Attributes:
        images: finished.
        total: to make.
        images_per_s: of all lanes together.
        seconds_left: None while no image is finished.
        lanes: each of them.
    """

    images: int
    total: int
    images_per_s: float
    seconds_left: float | None
    lanes: tuple[LaneState, ...]


Listener = Callable[[Progress], None]


def run(plan: Plan, count: int, listen: Listener = lambda progress: None, where: Hosts = LOCAL) -> None:
    """Make the missing shards of an output; return when none is missing.

    Args:
        plan: what to make.
        count: lanes.
        listen: called every few seconds and at the end.
        where: they run.

    Raises:
        LaneError: shards are missing, and every lane died too often or none has a place.
        IrgenError: what a lane found wrong with settings or data.
    """
    path = Path(plan.out).absolute() / files.TMP / "lanes.json"
    files.write_bytes(path, plan.model_dump_json().encode())
    messages: queue.Queue[tuple[_Lane, Message | None]] = queue.Queue()
    lanes = [_Lane(number, path, messages, host) for number, host in enumerate(where.take(count))]
    watch = _Watch(lanes, Path(plan.out), listen)
    try:
        for each in lanes:
            each.start()
        log.info("%s: %d lanes on %s", plan.stage, count, ", ".join(each.host.device for each in lanes))
        with watch:
            while watch.waits():
                try:
                    watch.hear(*messages.get(timeout=1.0))
                except queue.Empty:
                    watch.hear_nothing()
    finally:
        hosts.stop([each.process for each in lanes if each.process])
    if missing := unmade(Path(plan.out)):
        last = "; ".join(f"lane {each.number}: {each.last_words}" for each in lanes if each.last_words)
        raise LaneError(
            f"{plan.out}: {len(missing)} shards missing, the first is {missing[0]}, and no lane is left ({last})",
            "Mend that, and run the same again: it makes these alone.",
        )


def unmade(out: Path) -> list[int]:
    """Return the shards of an output that have no commit record; before it is begun, the first."""
    from irgen.shards import committed  # not at the top: it loads the table libraries; flows import in a second

    if not (out / committed.RUN).exists():
        return [0]
    return [number for number in range(len(committed.read_run(out))) if not committed.record_path(out, number).exists()]


@dataclass
class _Lane:
    """A lane and the processes that it takes, one after another."""

    number: int
    plan: Path
    messages: queue.Queue[tuple[_Lane, Message | None]]
    host: Host
    process: Process | None = None
    starts: int = 0
    fruitless: int = 0
    images: int = 0
    uncommitted: int = 0
    shards: int = 0
    memory_mb: float = 0.0
    heard_s: float = field(default_factory=time.monotonic)
    begun_s: float = field(default_factory=time.monotonic)
    last_words: str = ""

    def start(self) -> None:
        """Start a process, and a thread that hears it."""
        self.starts += 1
        self.fruitless += 1
        self.heard_s = time.monotonic()
        self.process = self.host.start(COMMAND, self.plan)
        threading.Thread(target=self._hear, args=(self.process,), daemon=True).start()

    def state(self) -> LaneState:
        """Return how it fares."""
        rate = self.images / max(time.monotonic() - self.begun_s, 1e-9)
        running = self.process is not None
        told = (self.images, self.shards, rate, self.memory_mb, self.starts)
        return LaneState(self.number, self.host.device, running, *told)

    def _hear(self, process: Process) -> None:
        for message in process.messages():
            self.messages.put((self, message))
        self.messages.put((self, None))


class _Watch:
    """Takes in what the lanes say, shows how far they are, and starts those again that died."""

    def __init__(self, lanes: Sequence[_Lane], out: Path, listen: Listener) -> None:
        self._lanes = lanes
        self._out = out
        self._listen = listen
        self._began_s = self._told_s = self._placed_s = time.monotonic()
        self._bar: Any = None
        self._advance: progress.Advance = lambda count: None
        self._total = 0

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exception)
        self._listen(self._progress())

    def waits(self) -> bool:
        """Say whether there is something to wait for.

        Raises:
            LaneError: no lane has had a place for too long.
        """
        running = [each.process for each in self._lanes if each.process]
        if not running or any(process.placed for process in running):
            self._placed_s = time.monotonic()
            return bool(running)
        if time.monotonic() - self._placed_s > PLACE_S:
            raise LaneError(
                f"{self._out}: no machine had room for any of {len(running)} lanes in {PLACE_S:.0f} s",
                "Ask the cluster what it has (`ray status`); or ask for fewer lanes.",
            )
        return bool(unmade(self._out))  # who waits for a place is not needed any more when others have made all

    def hear(self, each: _Lane, message: Message | None) -> None:
        """Take in one message; None is the end of the lane's process."""
        each.heard_s = time.monotonic()
        if message is None:
            self._ended(each)
            return
        match message["kind"]:
            case "begun":
                self._begin(message["count"])
            case "images":
                self._count(each, message["count"])
            case "shard":
                each.shards, each.uncommitted, each.fruitless = each.shards + 1, 0, 0
            case "alive":
                each.memory_mb = message["memory_mb"]
            case "log":
                log.log(message["level"], "lane %d: %s", each.number, message["text"])
            case "failed":
                each.last_words = message["text"]
            case "refused":
                raise refusal(message)
        self._tell()

    def hear_nothing(self) -> None:
        """Kill the lanes that have been silent for too long."""
        for each in self._lanes:
            if each.process and not each.process.placed:
                each.heard_s = time.monotonic()
            elif each.process and time.monotonic() - each.heard_s > SILENT_S:
                each.last_words = f"silent for {SILENT_S:.0f} s"
                each.process.kill()
        self._tell()

    def _begin(self, images: int) -> None:
        if self._bar is None:
            self._total, self._began_s = images, time.monotonic()
            self._bar = progress.bar("samples", images)
            self._advance = self._bar.__enter__()

    def _count(self, each: _Lane, count: int) -> None:
        each.images += count
        each.uncommitted += count
        self._advance(count)

    def _ended(self, each: _Lane) -> None:
        assert each.process is not None
        failure, each.process = each.process.failure(), None
        if not failure:
            return
        lost, each.uncommitted = each.uncommitted, 0
        each.images -= lost
        self._advance(-lost)
        each.last_words = each.last_words or failure
        again = each.fruitless <= RESTARTS and bool(unmade(self._out))
        fate = "started again" if again else "the others go on without it"
        log.warning("lane %d ended (%s), %d images are made anew; %s", each.number, each.last_words, lost, fate)
        if again:
            each.start()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_s >= TELL_EVERY_S:
            self._told_s = now
            self._listen(self._progress())

    def _progress(self) -> Progress:
        states = tuple(each.state() for each in self._lanes)
        images = sum(state.images for state in states)
        rate = images / max(time.monotonic() - self._began_s, 1e-9)
        left = (self._total - images) / rate if images else None
        return Progress(images, self._total, rate, left, states)
