"""Ranks side by side: the processes of this machine that train one model together, started, heard and ended.

They are started as lanes are: each with a GPU of its own or, without any, a share of the cores, and all end with this
process. `accelerate launch` would not do: it starts several processes on a CPU only through MPI, and those that it
started outlive it when it is killed. They get the variables that it sets, and use accelerate as under it. A training
needs all its processes: when one dies, the others are ended, and the next run goes on where the last checkpoint is.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from irgen import files, hosts, progress
from irgen.errors import IrgenError, SettingsError
from irgen.hosts import LocalHost, LocalHosts, LocalProcess, Process, Pulse
from irgen.lane import Message, Plan, refusal

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "irgen.rank")
LAST_WORDS_S = 2.0
"""After the first death, how long to hear what the others say of it."""


class RankError(IrgenError):
    """A training ended because a process of it did."""


def run(plan: Plan, count: int) -> None:
    """Train with several processes of this machine; the stage then finds what they learnt in its scratch folder.

    Args:
        plan: the stage and all that decides its training.
        count: processes.

    Raises:
        SettingsError: there are GPUs, but fewer than processes.
        RankError: a process died, or gave no sign of life.
        IrgenError: what the training found wrong with settings or data.
    """
    if (found := hosts.gpus()) and len(found) < count:
        raise SettingsError(
            f"ranks = {count}, but there are {len(found)} GPUs", "Each process needs its own: ask for as many at most."
        )
    path = Path(plan.out).absolute() / files.TMP / "ranks.json"
    files.write_bytes(path, plan.model_dump_json().encode())
    processes: list[LocalProcess] = []
    with tempfile.TemporaryDirectory(prefix="irgen-") as scratch:
        try:
            for rank, host in enumerate(LocalHosts().take(count)):
                variables = _variables(rank, count, Path(scratch) / "rendezvous")
                processes.append(LocalHost(host.device, {**host.environment, **variables}).start(COMMAND, path))
            log.info("%s: %d processes train together", plan.stage, count)
            with contextlib.ExitStack() as bars:
                _Watch(plan, processes, bars).wait()
        finally:
            hosts.stop(processes)


def _variables(rank: int, count: int, rendezvous: Path) -> dict[str, str]:
    """Return what tells a process which of how many it is: each sees its own GPU as the first."""
    known = {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": str(count)}
    # All are on this machine: nothing of what they send each other leaves it.
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return {**known, **loopback, hosts.RENDEZVOUS: str(rendezvous)}


class _Watch:
    """Hears the ranks until all have ended, or one badly.

    Of what they say in common (bars, log lines) the first one's counts: all say the same.
    """

    def __init__(self, plan: Plan, processes: Sequence[Process], bars: contextlib.ExitStack) -> None:
        self._plan = plan
        self._processes = processes
        self._running = set(range(len(processes)))
        self._pulses = [Pulse() for _ in processes]
        self._last_words: dict[int, str] = {}
        self._bars = bars
        self._shown: dict[str, tuple[contextlib.ExitStack, progress.Advance]] = {}
        self._messages: queue.Queue[tuple[int, Message | None]] = queue.Queue()
        for rank, process in enumerate(processes):
            hosts.listen(process, functools.partial(self._put, rank))

    def wait(self) -> None:
        """Return when all have ended well.

        Raises:
            RankError: one did not.
            IrgenError: what one refused.
        """
        while self._running and not self._last_words:
            self._take(1.0)
            for rank in self._running:
                if self._pulses[rank].silent():
                    self._last_words[rank] = f"silent for {hosts.SILENT_S:.0f} s"
        if not self._last_words:
            return
        until = time.monotonic() + LAST_WORDS_S
        while self._running and (left := until - time.monotonic()) > 0:
            self._take(left)
        told = "; ".join(f"rank {rank}: {words}" for rank, words in sorted(self._last_words.items()))
        raise RankError(
            f"{self._plan.stage}: training in {len(self._processes)} processes ended early ({told})",
            "Mend that, and run the same again: it goes on from what was kept, with any number of ranks.",
        )

    def _put(self, rank: int, message: Message | None) -> None:
        self._pulses[rank].beat()
        self._messages.put((rank, message))

    def _take(self, timeout_s: float) -> None:
        try:
            rank, message = self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return
        if message is None:
            self._running.remove(rank)
            if failure := self._processes[rank].failure():
                self._last_words.setdefault(rank, failure)
        elif message["kind"] == "refused":
            raise refusal(message)
        elif message["kind"] == "failed":
            self._last_words[rank] = message["text"]
        elif rank == 0:
            self._show(message)

    def _show(self, message: Message) -> None:
        match message["kind"]:
            case "begun":
                own = self._bars.enter_context(contextlib.ExitStack())
                self._shown[message["what"]] = own, own.enter_context(progress.bar(message["what"], message["count"]))
            case "done":
                self._shown[message["what"]][1](message["count"])
            case "ended":
                self._shown.pop(message["what"])[0].close()
            case "log":
                log.log(message["level"], "%s", message["text"])
