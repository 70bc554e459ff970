"""A Ray cluster on loopback in a process of its own: one node, and more on demand.

`python -m tests.ray_cluster` prints its address. Each line on stdin is a command, answered by a line: `add` starts a
node, `lose` kills the last one that was added. It ends with stdin.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows import local

AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
LOOPBACK = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class Cluster:
    """A cluster of one core a node, one node at first.

    Attributes:
        address: of its head.
        caches: a folder for each node's.
    """

    def __init__(self, process: subprocess.Popen[str], caches: Path) -> None:
        self.caches = caches
        self._process = process
        self.address = self._answer()

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def running(**environment: str) -> Iterator[Cluster]:
    """Start a cluster whose nodes have these variables, and stop it."""
    command = [sys.executable, "-m", "tests.ray_cluster"]
    with tempfile.TemporaryDirectory() as caches:
        known = {**os.environ, **LOOPBACK, **environment, "CACHES": caches}
        with subprocess.Popen(command, env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield Cluster(process, Path(caches))


def node() -> dict[str, Any]:
    """Return what makes a node: one core, no dashboard, loopback alone, ports that are free.

    The next one to start has a cache of its own, as on a machine of its own.
    """
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=os.environ["CACHES"])
    ports: set[int] = set()
    while len(ports) < len(AGENTS):
        ports.add(local.free_port())
    found = dict(zip(AGENTS, ports, strict=True))
    return {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, **found}


def main() -> None:
    """Serve until stdin ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=node())
    added = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            added.append(cluster.add_node(**node()))
        else:
            cluster.remove_node(added.pop(), allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
