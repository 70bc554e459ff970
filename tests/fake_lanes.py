"""A lane over a stage of a few lines: the real process, messages and shards, no model.

`python -m tests.fake_lanes PLAN`, misbehaving as IRGEN_FAKE_LANE says: die:N kills the first lane that comes to shard
N, always:N each one, refuse raises a user's error, bug another one, wait:S takes S seconds an image, mute says nothing.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from irgen import files, lane
from irgen.errors import SettingsError
from tests.shards import outputs


def make_shards(out: Path, bar: Any, committed: Any, **arguments: Any) -> None:
    how, _, value = os.environ.get("IRGEN_FAKE_LANE", "").partition(":")
    if how == "refuse":
        raise SettingsError("samples.search.nfe = 3 is less than one image needs", "Raise it to 8.")
    if how == "bug":
        raise TypeError("unsupported operand")
    output = outputs.opened(out, items=arguments["samples"].images, per_shard=arguments["samples"].images_per_shard)
    print("what a library says")
    with bar("samples", sum(len(output.items(number)) for number in output.missing())) as advance:
        for number in output.pending():
            with output.shard(number) as shard:
                for index in output.items(number):
                    shard.add(outputs.sample(index))
                    advance(1)
                    if how == "wait":
                        time.sleep(float(value))
                if how == "always" and number == int(value):
                    os.kill(os.getpid(), signal.SIGKILL)
                if how == "die" and number == int(value) and not (out / files.TMP / "died").exists():
                    (out / files.TMP / "died").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            committed(number)


if __name__ == "__main__":
    fake = ModuleType("irgen.stages.samples")
    vars(fake).update(make_shards=make_shards)
    sys.modules["irgen.stages.samples"] = fake
    if os.environ.get("IRGEN_FAKE_LANE") == "mute":
        time.sleep(600)
    sys.exit(lane.main(Path(sys.argv[1])))
