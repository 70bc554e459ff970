"""What lanes run on: this machine's GPUs, or shares of its cores; `irgen.ray_hosts` has a cluster's."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from irgen.lane import Message

log = logging.getLogger(__name__)

ADDRESS = "RAY_ADDRESS"
"""Names the cluster, as for Ray's own programs."""

EXCHANGE = "IRGEN_EXCHANGE"
"""Names object storage (s3://BUCKET/PREFIX) through which a cluster without a common folder makes an output."""

RENDEZVOUS = "IRGEN_RENDEZVOUS"
"""Names a file through which the processes of a training find each other."""

STOP_S = 10.0
SILENT_S = 120.0
"""A process without a heartbeat for so long is lost."""
LATE_S = 10.0
"""Who looks so late stood still itself (Ctrl-Z, say), and has yet to read what was said meanwhile."""


class Process(Protocol):
    """One process of a lane, wherever it runs."""

    @property
    def placed(self) -> bool:
        """Whether it has a machine; one that waits for a place is not silent, and is no loss."""

    def messages(self) -> Iterator[Message]:
        """Yield what it says, until it ends."""

    def failure(self) -> str:
        """Say how it ended, once `messages` is at its end; empty where it ended well."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, and say whether it has."""


class Host(Protocol):
    """What a lane runs on, one process after another.

    Attributes:
        device: in words.
    """

    device: str

    def start(self, command: Sequence[str], plan: Path) -> Process:
        """Start a process.

        Args:
            command: the lane's program; the plan's path is added.
            plan: file of what to make.
        """


class Hosts(Protocol):
    """All that lanes may run on."""

    def wanted(self, asked: int) -> int:
        """Return how many lanes to start for a setting; 0 is: the work is done in this process.

        Args:
            asked: lanes; 0 for as many as suit.
        """

    def take(self, count: int) -> Sequence[Host]:
        """Return a host for each of so many lanes."""


class LocalHosts:
    """The GPUs of this machine or, without any, shares of its cores."""

    def wanted(self, asked: int) -> int:
        """Return how many lanes to start; where none are asked for, one a GPU if there are several."""
        if asked:
            return asked
        count = len(gpus())
        return count if count > 1 else 0

    def take(self, count: int) -> Sequence[LocalHost]:
        """Give each lane its device and the environment that ties it there."""
        if found := gpus():
            chosen = [found[number % len(found)] for number in range(count)]
            return [LocalHost(f"GPU {gpu}", {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in chosen]
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // count))
        return [LocalHost("cpu", {"OMP_NUM_THREADS": threads})] * count


class LocalHost:
    """A device of this machine.

    Attributes:
        device: `GPU` and its number, or `cpu`.
        environment: what ties a process to it.
    """

    def __init__(self, device: str, environment: Mapping[str, str]) -> None:
        self.device = device
        self.environment = environment

    def start(self, command: Sequence[str], plan: Path) -> LocalProcess:
        """Start a process of this one, with which it ends."""
        return LocalProcess([*command, str(plan)], self.environment)


class LocalProcess:
    """A child of this process.

    Attributes:
        placed: always.
    """

    placed = True

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            # The terminal's Ctrl-C is for the parent, which then ends its lanes.
            start_new_session=True,
        )

    def messages(self) -> Iterator[Message]:
        """Yield what it says, until it ends."""
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                # What is printed before a process has its `speaker` comes here, and a killed one tears its last line.
                try:
                    message = json.loads(line)
                except json.JSONDecodeError:
                    message = None
                if isinstance(message, dict) and "kind" in message:
                    yield message
                else:
                    log.warning("a process says: %s", line.strip())
        self._process.wait()

    def failure(self) -> str:
        """Say how it ended; empty where it ended well."""
        return f"exit code {self._process.returncode}" if self._process.returncode else ""

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, and say whether it has."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


class Pulse:
    """Signs of life of a process, noted when they arrive, however late somebody takes them in."""

    def __init__(self) -> None:
        self._heard_s = self._looked_s = time.monotonic()

    def beat(self) -> None:
        """Note one."""
        self._heard_s = time.monotonic()

    def silent(self) -> bool:
        """Say whether there has been none for too long; to be asked every second."""
        now = time.monotonic()
        if now - self._looked_s > LATE_S:
            self._heard_s = max(self._heard_s, now - SILENT_S + LATE_S)
        self._looked_s = now
        return now - self._heard_s > SILENT_S


def listen(process: Process, take: Callable[[Message | None], None]) -> None:
    """Hand on all that a process says, from a thread of its own; None is its end."""

    def hear() -> None:
        try:
            for message in process.messages():
                take(message)
        except Exception as error:  # whatever it was: who waits for the end must hear of one
            process.kill()
            process.wait(STOP_S)
            take({"kind": "failed", "text": f"what it said was lost ({type(error).__name__}: {error})"})
        take(None)

    threading.Thread(target=hear, daemon=True).start()


def stop(processes: Sequence[Process]) -> None:
    """End processes; those that do not end within a while are killed, which leaves nothing torn."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in processes:
        if not process.wait(max(0.0, deadline - time.monotonic())):
            process.kill()
            process.wait(STOP_S)


def gpus() -> list[str]:
    """Name the GPUs that this process sees, as CUDA_VISIBLE_DEVICES does."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return [named[number].strip() if number < len(named) and named[number] else str(number) for number in range(count)]
