"""A rank over a training of a few lines: the real process and messages, no model and no torch.

`python -m tests.fake_ranks PLAN`, misbehaving as IRGEN_FAKE_RANK says: die kills the last of the processes half-way,
and the others fail of it; refuse raises a user's error, wait stays for ever, mute says nothing.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from irgen import files, lane, progress, rank
from irgen.errors import GateError
from irgen.hosts import RENDEZVOUS

STEPS = 4


def train(out: Path, **arguments: Any) -> None:
    number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    how = os.environ.get("IRGEN_FAKE_RANK", "")
    scratch = out / files.TMP
    files.write_bytes(scratch / f"begun-{number}", os.environ[RENDEZVOUS].encode())
    if how == "refuse":
        raise GateError("verifier: the training loss is not finite at step 0", "Lower verifier.learning_rate.")
    with progress.bar("encode", STEPS), progress.bar("train", STEPS) as advance:
        for _ in range(STEPS // 2):
            advance(1)
        if how == "die" and number == count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "die":
            raise RuntimeError("connection closed by peer")
        if how == "wait":
            time.sleep(600)
        advance(STEPS // 2)


if __name__ == "__main__":
    fake = ModuleType("irgen.stages.adapter")
    vars(fake).update(train=train)
    sys.modules["irgen.stages.adapter"] = fake
    if os.environ.get("IRGEN_FAKE_RANK") == "mute":
        time.sleep(600)
    sys.exit(lane.main(Path(sys.argv[1]), rank.work))
