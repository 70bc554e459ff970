"""Writers killed at random moments: the real commit protocol under a generator that costs nothing."""

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from irgen import store
from irgen.shards import Sample, ShardedOutput, read, verify
from tests.faults.inject import in_child, start_child
from tests.faults.small import contents

ITEMS, PER_SHARD = 64, 4
COLUMNS = pa.schema([("score", pa.float64())])
IMAGE_BYTES = 20_000
KILLS_A_ROUND = 10
LEAST_S = 0.02
"""Between kills, on average twice as long as this: less, and none would get as far as to write."""


@dataclass
class Soaked:
    """What became of a soak.

    Attributes:
        kills: processes that died of SIGKILL.
        rounds: datasets that were made, each to its end.
        wrong: a line for each of them that is not the undisturbed one.
    """

    kills: int
    rounds: int
    wrong: list[str]


def fill(folder: Path, items: int = ITEMS) -> int:
    """Write a dataset as a lane does, and its manifest as the stage does after the lanes."""
    output = ShardedOutput.open(folder, run={"of": "soak"}, items=items, per_shard=PER_SHARD, columns=COLUMNS)
    for number in output.pending():
        with output.shard(number) as shard:
            for index in output.items(number):
                # Looks like no image and need not: only bytes are kept and compared here.
                image = hashlib.shake_128(str(index).encode()).digest(IMAGE_BYTES)
                shard.add(Sample(index, image, "png", {"score": index / 7}, f"caption {index}", {"score": index / 7}))
    output.finish()
    store.write_manifest(folder, {"stage": "samples", "figures": {}}, store.listing(folder))
    return 0


def soak(scratch: Path, workers: int, kills: int, seed: int = 0) -> Soaked:
    """Kill one of some workers on one dataset at a random moment, start another, and go on until all is done."""
    scratch.mkdir(parents=True)
    undisturbed = scratch / "undisturbed"
    started = time.monotonic()
    assert in_child(lambda: fill(undisturbed)) == 0
    usual_s = time.monotonic() - started
    expected = contents(undisturbed)
    chance = random.Random(f"{seed}/{workers}")
    done = Soaked(0, 0, [])
    while done.kills < kills:
        folder = scratch / "killed"
        kills_now = _round(folder, workers, usual_s, chance)
        done.kills += kills_now
        done.rounds += 1
        # How long a dataset takes depends on who else uses the machine; a kill that comes after its end is none.
        usual_s = max(LEAST_S, usual_s * (0.5 if kills_now < KILLS_A_ROUND / 2 else 1.1))
        done.wrong += [f"{workers} workers, round {done.rounds}: {line}" for line in _differences(folder, expected)]
        shutil.rmtree(folder)
    return done


def _round(folder: Path, workers: int, usual_s: float, chance: random.Random) -> int:
    """Return how many were killed before the dataset was finished."""
    kills = 0
    # All begin at once: a fork of a large process takes longer than the first of them would need for the dataset.
    gate = os.pipe()
    running = [start_child(lambda: _fill_after(gate, folder)) for _ in range(workers)]
    for end in gate:
        os.close(end)
    for _ in range(KILLS_A_ROUND):
        time.sleep(chance.uniform(0, usual_s))
        if (folder / store.MANIFEST).exists():
            break
        victim = running.pop(chance.randrange(workers))
        os.kill(victim, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL
        running.append(start_child(lambda: fill(folder)))
    for child in running:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended == 0, f"a worker that nobody killed ended with {ended}"
    return kills


def _fill_after(gate: tuple[int, int], folder: Path) -> int:
    """Fill a folder once the parent has let go of the gate."""
    waiting, held = gate
    os.close(held)
    os.read(waiting, 1)
    return fill(folder)


def _differences(folder: Path, expected: dict[str, bytes]) -> Iterator[str]:
    found = contents(folder)
    odd = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if odd:
        yield f"not the same bytes: {', '.join(odd)}"
    keys = [record.key for record in read(folder)]
    if keys != [f"{index:09d}" for index in range(ITEMS)]:
        yield f"not each key once: {keys}"
    yield from verify(folder)


def rss_kib() -> int:
    """Return this process's resident memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def growth(scratch: Path, shards: int) -> tuple[float, int]:
    """Write many shards in one process; return memory's growth over the second half, in percent, and handles left.

    The first half is for pools and caches to fill.
    """
    handles = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # iterdir would hold one open itself, too
    sizes = []
    for number in range(shards // (ITEMS // PER_SHARD)):
        fill(scratch / str(number))
        shutil.rmtree(scratch / str(number))
        sizes.append(rss_kib())
    half = sizes[len(sizes) // 2]
    left = len(os.listdir("/proc/self/fd")) - handles  # noqa: PTH208
    return 100 * (sizes[-1] - half) / half, left
