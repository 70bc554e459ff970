"""Lanes on a Ray cluster: each process of a lane is a Ray task, which starts it on a node and hands on what it says.

Ray chooses the node and says when one is gone; which shards are made the lanes settle among themselves, by commit
record, as on one machine. So all nodes must see the outputs under the same path, unless they go through object storage
(`irgen.exchange`). A Ray task is never retried by Ray: `irgen.lanes` starts a lane again, and knows what is left to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from irgen.errors import SettingsError
from irgen.hosts import ADDRESS, EXCHANGE, LocalProcess
from irgen.lane import Message, Plan

ANSWER_S = 10.0


@contextlib.contextmanager
def connected() -> Iterator[RayHosts]:
    """Connect to the cluster of RAY_ADDRESS; without it, start a Ray of this machine's, which ends with the block.

    Raises:
        SettingsError: no cluster answers there.
    """
    address = os.environ.get(ADDRESS, "")
    own: dict[str, Any] = {} if address else {"include_dashboard": False}
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            _ask(address)
        ray.init(address or "local", log_to_driver=False, logging_level=logging.WARNING, **own)
    except (OSError, RuntimeError, ValueError) as error:
        told = f"no Ray cluster that this machine is in ({' '.join(str(error).split())})"
        fix = "It is HOST:PORT, as `ray start --head` says; `ray start --address HOST:PORT` puts this machine into it."
        raise SettingsError(f"{ADDRESS} = {address}: {told}", fix) from error
    finally:
        if main:  # Ray would end the process where irgen stops a run
            signal.signal(signal.SIGTERM, before)
    try:
        yield RayHosts()
    finally:
        ray.shutdown()


class RayHosts:
    """The GPUs of a cluster or, without any, shares of its cores."""

    def wanted(self, asked: int) -> int:
        """Return how many lanes to start; where none are asked for, one a GPU, else one a node."""
        return asked or int(ray.cluster_resources().get("GPU", 0)) or len(_cores())

    def take(self, count: int) -> list[RayHost]:
        """Return a host for each lane; more lanes than the cluster has room for wait until it has."""
        if ray.cluster_resources().get("GPU"):
            return [RayHost("a GPU of the cluster", {"num_gpus": 1, "num_cpus": 1})] * count
        cores = _cores()
        share = max(1, min(sum(cores) // count, max(cores)))
        return [RayHost(f"{share} cores of the cluster", {"num_cpus": share})] * count


class RayHost:
    """Room for one lane, wherever Ray finds it.

    Attributes:
        device: in words.
        needs: of each process, as Ray's options.
    """

    def __init__(self, device: str, needs: dict[str, Any]) -> None:
        self.device = device
        self.needs = needs

    def start(self, command: Sequence[str], plan: Path) -> RayProcess:
        """Start a process on the next node that has room."""
        return RayProcess(command, plan, self.needs)


class RayProcess:
    """A process of a lane on some node.

    Attributes:
        placed: whether a node has it.
    """

    def __init__(self, command: Sequence[str], plan: Path, needs: dict[str, Any]) -> None:
        options = {**needs, "num_returns": "streaming", "max_retries": 0, "scheduling_strategy": "SPREAD"}
        self.placed = False
        self._task: Any = _host.options(**options).remote([*command], plan.read_text(), str(Path.cwd()))
        self._failure = "its node is gone"
        self._ended = threading.Event()

    def messages(self) -> Iterator[Message]:
        """Yield what it says, until it ends or its node is lost."""
        try:
            for reference in self._task:
                message = ray.get(reference)
                self.placed = True
                if message["kind"] == "ended":
                    self._failure = message["failure"]
                else:
                    yield message
        except RayError as error:
            self._failure = f"its node or its Ray worker is gone ({type(error).__name__})"
        finally:
            self._ended.set()

    def failure(self) -> str:
        """Say how it ended; empty where it ended well."""
        return self._failure

    def terminate(self) -> None:
        """End it with its Ray worker, which leaves nothing torn."""
        ray.cancel(self._task, force=True)

    def kill(self) -> None:
        """End it."""
        self.terminate()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, and say whether it has."""
        return self._ended.wait(timeout_s)


@ray.remote
def _host(command: list[str], plan: str, folder: str) -> Iterator[Message]:
    """Run a lane on a node, and yield what it says.

    Args:
        command: its program; this node's Python runs it.
        plan: of what to make, as JSON.
        folder: in which relative paths begin, where nodes share one.
    """
    node = ray.util.get_node_ip_address()
    # The lane dies with this process, whoever started that.
    own = Plan.model_validate_json(plan).model_copy(update={"parent": os.getpid()})
    for path in () if own.exchange else (own.out, folder):
        if not Path(path).exists():
            fix = (
                f"All nodes need the data folder, and where irgen was started, under the same path; or set {EXCHANGE}."
            )
            yield {"kind": "refused", "error": "StoreError", "what": f"node {node} has no {path}", "fix": fix}
            return
    yield {"kind": "log", "level": logging.INFO, "text": f"on node {node}"}
    with tempfile.TemporaryDirectory() as scratch:
        own_plan = Path(scratch) / "lane.json"
        own_plan.write_text(own.model_dump_json())
        start = [sys.executable, *command[1:], str(own_plan)]
        process = LocalProcess(start, {}, None if own.exchange else folder)
        try:
            yield from process.messages()
            yield {"kind": "ended", "failure": process.failure()}
        finally:
            process.kill()


def _ask(address: str) -> None:
    """See whether anybody answers: Ray itself would try for minutes.

    Raises:
        OSError, ValueError: nobody does, or it is no address.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), ANSWER_S).close()


def _cores() -> list[int]:
    """Return the cores of each node that is alive."""
    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
