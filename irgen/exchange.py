"""Lanes on machines that share no folder: what they read and what they make goes through object storage.

The machine that runs the stage puts the stage's inputs there; each machine with a lane fetches them once and puts
finished shards there; the first fetches those into the output's folder, where everything else goes on as ever.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import psutil

from irgen import files, store
from irgen.objects import Objects
from irgen.shards import publishing
from irgen.shards.exchanged import Exchange

OFFER = "Run the same again: what is missing or damaged is put there anew."


class Shared:
    """An output that lanes make elsewhere, seen from the machine that wants it.

    Args:
        stage: that makes it.
        inputs: folders of the outputs that it reads, by name of their stages.
        out: the output's folder.
        address: s3://BUCKET/PREFIX, which all outputs have in common.

    Attributes:
        inputs: addresses of those outputs, by name.
        address: of this one's shards.

    Raises:
        SettingsError: an address that is none, or no package to reach it.
        StoreError: the storage refuses.
    """

    def __init__(self, stage: str, inputs: Mapping[str, str], out: Path, address: str) -> None:
        self._out = out
        self._exchange = Exchange(f"{address}/{stage}/{out.name}")
        self.address = str(self._exchange)
        self.inputs = {name: f"{address}/inputs/{_named(Path(path))}" for name, path in inputs.items()}
        for name, url in self.inputs.items():
            publishing.offer(Path(inputs[name]), Objects(url, OFFER))

    def fetch(self, number: int) -> bool:
        """Fetch a shard that a lane has made; return False if this machine has it."""
        return self._exchange.take(number, self._out)

    def sync(self) -> None:
        """Give what shards this machine has, and fetch all others that are there."""
        self._exchange.sync(self._out)

    def clear(self) -> None:
        """Remove what is there of the output; the inputs stay for the next one."""
        self._exchange.clear()


def unpacked(inputs: Mapping[str, str], out: str) -> tuple[dict[str, str], str]:
    """Fetch what lanes read, unless it is here already; return this machine's folders.

    Args:
        inputs: addresses, by name.
        out: folder of the output on the machine that wants it.

    Returns:
        Folders of the inputs, by name; folder for what is not of the shards.
    """
    cache = files.cache_folder()
    folders = {name: cache / "inputs" / url.rpartition("/")[2] for name, url in inputs.items()}
    for name, folder in folders.items():
        with store.exclusive(folder):
            publishing.bring(Objects(inputs[name], OFFER), folder)
    scratch = cache / "outputs" / Path(out).name / platform.node()  # machines may share a home folder
    _sweep(scratch / files.TMP)
    return {name: str(folder) for name, folder in folders.items()}, str(scratch)


def _sweep(folder: Path) -> None:
    """Remove scratch of processes that are gone: a cluster kills lanes in the middle of a shard."""
    for path in folder.glob("*.*.*"):
        process = path.name.split(".")[-2]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            files.remove_tree(path)


def _named(output: Path) -> str:
    """Name a finished output by all that is in it."""
    return files.sha256_file(output / store.MANIFEST)[: store.FINGERPRINT_DIGITS]
