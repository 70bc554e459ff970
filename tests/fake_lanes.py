"""A lane over a stage of a few lines: the real process, messages and shards, no model.

`python -m tests.fake_lanes PLAN`, misbehaving as IRGEN_FAKE_LANE says: die:N kills the first lane that comes to shard
N, always:N each one; freeze:N and hang:N hold the first up there, the latter with signs of life; refuse raises a user's
error, bug another one, worse first another one and then dies, unreachable raises the first time what may go well the
next; wait:S takes S seconds an image, mute says nothing. After its first image a lane waits until there is the file
that IRGEN_FAKE_GATE names.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from irgen import files, lane
from irgen.errors import SettingsError, UnreachableError
from tests.shards import outputs

HOLDS: dict[str, Callable[[], None]] = {
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "freeze": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": lambda: time.sleep(600),
}


def first(out: Path) -> bool:
    """Say so once."""
    try:
        (out / files.TMP / "first").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def make_shards(out: Path, bar: Any, committed: Any, exchange: str, **arguments: Any) -> None:
    how, _, value = os.environ.get("IRGEN_FAKE_LANE", "").partition(":")
    if how == "refuse":
        raise SettingsError("samples.search.nfe = 3 is less than one image needs", "Raise it to 8.")
    if how == "bug" or (how == "worse" and first(out)):
        raise TypeError("unsupported operand")
    if how == "worse":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "unreachable" and first(out):
        raise UnreachableError("s3://bucket/prefix: SlowDown", "Later.")
    wanted, gate = arguments["samples"], Path(os.environ.get("IRGEN_FAKE_GATE", "/"))
    output = outputs.opened(out, exchange, items=wanted.images, per_shard=wanted.images_per_shard)
    print("what a library says")
    with bar("samples", sum(len(output.items(number)) for number in output.missing())) as advance:
        for number in output.pending():
            with output.shard(number) as shard:
                for index in output.items(number):
                    shard.add(outputs.sample(index))
                    advance(1)
                    if how == "wait":
                        time.sleep(float(value))
                    while not gate.exists():
                        time.sleep(0.05)
                if how == "always" and number == int(value):
                    os.kill(os.getpid(), signal.SIGKILL)
                if how in HOLDS and number == int(value) and first(out):
                    HOLDS[how]()
            committed(number)


if __name__ == "__main__":
    fake = ModuleType("irgen.stages.samples")
    vars(fake).update(make_shards=make_shards)
    sys.modules["irgen.stages.samples"] = fake
    if os.environ.get("IRGEN_FAKE_LANE") == "mute":
        time.sleep(600)
    lane.HEARTBEAT_S = 0.1
    sys.exit(lane.main(Path(sys.argv[1])))
