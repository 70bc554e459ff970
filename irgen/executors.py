"""Where lanes may run, by name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

from irgen.errors import SettingsError
from irgen.hosts import ADDRESS, Hosts, LocalHosts

Executor = Literal["local", "ray"]
"""local: this machine. ray: the cluster of RAY_ADDRESS, without it a Ray of this machine's."""


@contextlib.contextmanager
def opened(executor: Executor) -> Iterator[Hosts]:
    """Yield what lanes may run on.

    Raises:
        SettingsError: Ray is wanted and is not installed, or no cluster answers.
    """
    if executor == "local":
        yield LocalHosts()
        return
    # Ray reads these when it is imported: it sends no usage, and one that is for this machine alone stays on loopback.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not os.environ.get(ADDRESS):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from irgen import ray_hosts
    except ModuleNotFoundError as error:
        raise SettingsError("executor = ray needs the package ray", "Run `pip install 'irgen[ray]'`.") from error
    with ray_hosts.connected() as hosts:
        yield hosts
