"""Lanes side by side: several processes that make the shards of one output, watched and replaced.

A lane has one GPU of its own or, without any, a core, on this machine or on a cluster (`irgen.hosts`).
It loads its models once and takes shards that no other is at. What a lane was making when it died, another makes; the
lane is started again. All end with this process.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen import files, hosts, progress
from irgen.errors import IrgenError, UnreachableError
from irgen.hosts import Host, Hosts, LocalHosts, Process, Pulse
from irgen.lane import Message, Plan, refusal

if TYPE_CHECKING:
    from irgen.exchange import Shared

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "irgen.lane")
AGAIN_S = (0.0, 15.0, 60.0)
"""When a lane is started again, for each time in a row without a shard made; then the others go on without it."""

STUCK_S, STUCK_TIMES = 1800.0, 10.0
"""A lane is killed in whose shard nothing moves for so long, and for so many times the longest that an image took: a
GPU that hangs does not keep it from giving signs of life."""

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


def run(
    plan: Plan, count: int, listen: Listener = lambda progress: None, where: Hosts = LOCAL, anew: bool = False
) -> None:
    """Make the missing shards of an output; return when none is missing.

    Args:
        plan: what to make.
        count: lanes.
        listen: called every few seconds and at the end.
        where: they run.
        anew: whether what an earlier run left on object storage is thrown away.

    Raises:
        LaneError: shards are missing, and every lane died too often or none has a place.
        IrgenError: what a lane found wrong with settings or data.
    """
    shared = None
    if plan.exchange:
        from irgen import exchange  # it loads the table libraries; flows import in a second

        shared = exchange.Shared(plan.stage, plan.inputs, Path(plan.out), plan.exchange)
        if anew:
            shared.clear()
        shared.sync()
        plan = plan.model_copy(update={"inputs": shared.inputs, "exchange": shared.address})
    path = Path(plan.out).absolute() / files.TMP / "lanes.json"
    files.write_bytes(path, plan.model_dump_json().encode())
    messages: queue.Queue[tuple[_Lane, Message | None]] = queue.Queue()
    lanes = [_Lane(number, path, messages, host) for number, host in enumerate(where.take(count))]
    watch = _Watch(lanes, Path(plan.out), listen, shared)
    try:
        for each in lanes:
            each.start()
        log.info("%s: %d lanes on %s", plan.stage, count, ", ".join(each.host.device for each in lanes))
        with watch:
            while watch.waits():
                with contextlib.suppress(queue.Empty):
                    watch.hear(*messages.get(timeout=1.0))
                watch.look()
    finally:
        hosts.stop([each.process for each in lanes if each.process])
    if shared:
        shared.sync()
    if missing := unmade(Path(plan.out)):
        last = "; ".join(f"lane {each.number}: {each.last_words}" for each in lanes if each.last_words)
        raise LaneError(
            f"{plan.out}: {len(missing)} shards missing, the first is {missing[0]}, and no lane is left ({last})",
            "Mend that, and run the same again: it makes these alone.",
        )
    if shared:
        shared.clear()


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
    begun_s: float = field(default_factory=time.monotonic)
    moved_s: float = 0.0
    slowest_s: float = 0.0
    again_s: float | None = None
    last_words: str = ""
    pulse: Pulse = field(default_factory=Pulse)

    def start(self) -> None:
        """Start a process, and hear it."""
        self.starts += 1
        self.fruitless += 1
        self.again_s, self.last_words, self.pulse = None, "", Pulse()
        self.process = self.host.start(COMMAND, self.plan)
        hosts.listen(self.process, self._heard)

    def _heard(self, message: Message | None) -> None:
        self.pulse.beat()
        self.messages.put((self, message))

    def move(self, count: int) -> None:
        """Count images, and how long they took."""
        now = time.monotonic()
        self.slowest_s, self.moved_s = max(self.slowest_s, now - self.moved_s), now
        self.images += count
        self.uncommitted += count

    def lost(self) -> str:
        """Say why its process is to be killed; empty where it fares well.

        A lane that has begun no shard may wait for others', and is not stuck.
        """
        if self.pulse.silent():
            return f"silent for {hosts.SILENT_S:.0f} s"
        still_s = time.monotonic() - self.moved_s
        stuck = self.uncommitted and still_s > max(STUCK_S, STUCK_TIMES * self.slowest_s)
        return f"no image for {still_s:.0f} s" if stuck else ""

    def state(self) -> LaneState:
        """Return how it fares."""
        rate = self.images / max(time.monotonic() - self.begun_s, 1e-9)
        running = self.process is not None
        told = (self.images, self.shards, rate, self.memory_mb, self.starts)
        return LaneState(self.number, self.host.device, running, *told)


class _Watch:
    """Takes in what the lanes say, shows how far they are, and starts those again that died."""

    def __init__(self, lanes: Sequence[_Lane], out: Path, listen: Listener, shared: Shared | None) -> None:
        self._lanes = lanes
        self._out = out
        self._listen = listen
        self._shared = shared
        self._fetched_all = False
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
        if not running and any(each.again_s is not None for each in self._lanes):
            return bool(unmade(self._out))
        if not running or any(process.placed for process in running):
            self._placed_s = time.monotonic()
            return bool(running) and not self._fetched_all
        if time.monotonic() - self._placed_s > PLACE_S:
            raise LaneError(
                f"{self._out}: no machine had room for any of {len(running)} lanes in {PLACE_S:.0f} s",
                "Ask the cluster what it has (`ray status`); or ask for fewer lanes.",
            )
        return bool(unmade(self._out))  # who waits for a place is not needed any more when others have made all

    def hear(self, each: _Lane, message: Message | None) -> None:
        """Take in one message; None is the end of the lane's process."""
        if message is None:
            self._ended(each)
            return
        match message["kind"]:
            case "begun":
                each.moved_s = time.monotonic()
                self._begin(message["count"])
            case "images":
                self._count(each, message["count"])
            case "shard":
                self._committed(each, message["number"])
            case "alive":
                each.memory_mb = message["memory_mb"]
            case "log":
                log.log(message["level"], "lane %d: %s", each.number, message["text"])
            case "failed":
                each.last_words = message["text"]
            case "refused":
                raise refusal(message)

    def look(self) -> None:
        """Kill the lanes that are lost, and start those again whose time has come."""
        for each in self._lanes:
            if each.process and not each.process.placed:
                each.pulse.beat()
            elif each.process and (why := each.lost()):
                each.last_words = why
                each.process.kill()
            elif each.again_s is not None and time.monotonic() >= each.again_s:
                each.again_s = None
                if unmade(self._out):
                    each.start()
        self._tell()

    def _begin(self, images: int) -> None:
        if self._bar is None:
            self._total, self._began_s = images, time.monotonic()
            self._bar = progress.bar("samples", images)
            self._advance = self._bar.__enter__()

    def _count(self, each: _Lane, count: int) -> None:
        each.move(count)
        self._advance(count)

    def _committed(self, each: _Lane, number: int) -> None:
        each.fruitless = 0
        try:
            if self._shared and not self._shared.fetch(number):
                self._discount(each)  # another lane, which shares no lock with this one, was faster
                return
        except UnreachableError as error:
            log.warning("%s; it is fetched at the end", error.what)
        each.shards, each.uncommitted = each.shards + 1, 0
        if self._shared and not unmade(self._out):
            self._fetched_all = True
            for other in self._lanes:
                self._discount(other)  # what they are at is there

    def _discount(self, each: _Lane) -> int:
        lost, each.uncommitted = each.uncommitted, 0
        each.images -= lost
        self._advance(-lost)
        return lost

    def _ended(self, each: _Lane) -> None:
        assert each.process is not None
        failure, each.process = each.process.failure(), None
        if not failure:
            return
        lost = self._discount(each)
        each.last_words = each.last_words or failure
        fate = "the others go on without it"
        if each.fruitless <= len(AGAIN_S) and unmade(self._out):
            wait_s = AGAIN_S[max(each.fruitless - 1, 0)]
            each.again_s = time.monotonic() + wait_s
            fate = f"started again in {wait_s:.0f} s" if wait_s else "started again"
        log.warning("lane %d ended (%s), %d images are made anew; %s", each.number, each.last_words, lost, fate)

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
