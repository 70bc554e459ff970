"""A cluster that is only simulated: what a large dataset costs beside its images.

    python benchmarks/cluster.py --json --images 10000 100000 1000000

64 lanes on 8 nodes make images on a simulated clock, 10.8 s each: 336 evaluations of FLUX.1-dev at what an H200 can do
at most. Some lanes are slow, some shards take three times as long, and nodes are lost with all they were at. All else
is the real thing: stage samples' plan, lanes that claim, write and commit shards of 250 images, and the stage's end
that checks and sums up all of them; files lie in memory (/dev/shm) where there is such a folder, so fsync is free.
An image is a PNG of a single pixel with a score sheet of full size; of its 12 candidates the kept one alone has a row.

`overhead_share` is all CPU time of this process, the fake images included, over the simulated time; `begun_s`,
`lanes_s` and `ended_s` are its parts. `plan_s`, the plan, is counted once, though each lane of a real cluster makes its
own. `efficiency` is what the images alone would take on lanes that are all as fast as the rule, over the simulated
time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import heapq
import itertools
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest import mock

import alternating  # noqa: F401  (first: it sets the threads)
import command
import pyarrow as pa

import irgen
from irgen import files, guiding, images, pipeline, planning, records, seeds, store
from irgen.captions import forms
from irgen.recording import Plan
from irgen.records import Caption
from irgen.settings import BaseSettings, RandomSearch, SamplesSettings
from irgen.shards import Sample, commit
from irgen.shards.sample import key
from irgen.stages import samples
from irgen.starting import FROM_NOISE

IMAGE_S = 10.8
LOAD_S = 120.0
"""A lane's models, from a shared disk."""
SLOW_LANES, SLOW = 0.05, 1.5
"""Share of lanes that are slow, and by which factor."""
LONG_SHARDS, LONG = 0.02, 3.0
BETWEEN_LOSSES_S, AWAY_S = 48 * 3600.0, 1800.0
"""Mean time between two losses of one node, and how long it is gone."""
POLL_S = 30.0
"""Simulated time between two looks at a lock that another lane has."""
LANES_A_NODE = 8
CAPTIONS = 1000
M_ARENA_MAX = -8


class Lost(BaseException):
    """The node of a lane is gone; nothing of it runs any more."""


class Clock:
    """Simulated time for threads: one works at a time; when it sleeps, time goes on to the next that wakes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, int, threading.Semaphore]] = []
        self._numbers = itertools.count()
        self._ended = threading.Semaphore(0)

    def run(self, lives: Sequence[Callable[[], None]]) -> None:
        """Let each live in a thread until all have ended; raise what one of them raised."""
        raised: list[BaseException] = []

        def begin(life: Callable[[], None], turn: threading.Semaphore) -> None:
            turn.acquire()
            try:
                life()
            except BaseException as error:
                raised.append(error)
            self._wake()

        for life in lives:
            threading.Thread(target=begin, args=(life, self._until(0.0)), daemon=True).start()
        self._wake()
        self._ended.acquire()
        if raised:
            raise raised[0]

    def sleep(self, seconds: float) -> None:
        turn = self._until(self.now_s + seconds)
        self._wake()
        turn.acquire()

    def _until(self, time_s: float) -> threading.Semaphore:
        turn = threading.Semaphore(0)
        heapq.heappush(self._sleepers, (time_s, next(self._numbers), turn))
        return turn

    def _wake(self) -> None:
        if self._sleepers:
            self.now_s, _, turn = heapq.heappop(self._sleepers)
            turn.release()
        else:
            self._ended.release()


class Lane:
    """A lane of the cluster, which is also the fake generator that it loads."""

    def __init__(self, clock: Clock, number: int, losses_s: Sequence[float], slow: bool) -> None:
        self.lost = False
        self.times_lost = 0
        self._clock = clock
        self._losses_s = list(losses_s)
        self._image_s = IMAGE_S * (SLOW if slow else 1.0)

    def live(self, work: Callable[[], object]) -> None:
        """Work, and once more after each loss of its node."""
        while True:
            self.lost = False
            try:
                work()
                return
            except Lost:
                self.times_lost += 1
            gc.collect()  # the dead stack with the locks in it, which the kernel would have let go of
            self._clock.sleep(AWAY_S)

    def sleep(self, seconds: float) -> None:
        """Pass simulated time.

        Raises:
            Lost: the node is lost meanwhile.
        """
        left_s = self._losses_s[0] - self._clock.now_s if self._losses_s else float("inf")
        if left_s > seconds:
            self._clock.sleep(seconds)
            return
        self._clock.sleep(max(0.0, left_s))
        self._losses_s.pop(0)
        self.lost = True
        raise Lost

    def render(self, wanted: Sequence[Plan], settings: SamplesSettings, constants: Any) -> Iterator[Sample]:
        """Take as long as a real search, in simulated time, and make what it would have left behind."""
        number = wanted[0].prompt.index // settings.images_per_shard
        drawn = seeds.generator(settings.seed, number, "long shards")
        self.sleep(len(wanted) * self._image_s * (LONG if drawn.random() < LONG_SHARDS else 1.0))
        for each in wanted:
            yield sample(each, drawn.random(settings.search.candidates), constants)


class Flock:
    """Stands in for `fcntl` where shards are claimed: waiting for another lane takes simulated time."""

    LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

    def __init__(self, here: threading.local) -> None:
        self._here = here

    def flock(self, lock: IO[str], how: int) -> None:
        while True:
            try:
                return fcntl.flock(lock, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if how & fcntl.LOCK_NB:
                    raise
            self._here.lane.sleep(POLL_S)


PIXEL = images.encode(images.np.zeros((1, 1, 3), images.np.uint8), "png")


def sample(each: Plan, scores: Any, constants: Any) -> Sample:
    """Return a prompt's record with the columns and the sheet of `recording.sample`, and the kept candidate alone."""
    best = int(scores.argmax())
    row = {
        **dict.fromkeys(("score", "cos_infrared", "cos_grayscale"), float(scores[best])),
        **{"unguided_score": float(scores[0]), "spread": float(scores[best] - scores.min())},
        **{"frame_id": each.frame_id, "prompt": each.prompt.text, "candidate": best, "nfe": 336, "previews": 0},
        **{"unguided_nfe": 0, "attempt": 0, **FROM_NOISE.columns()},
    }
    own = key(each.prompt.index)
    recipe = f'{{"candidate": {best}, "seed": "{own}"}}'
    candidate = {
        **{"key": own, "attempt": 0, "candidate": best, "rank": 1, "kept": True, "step": 28, "score": row["score"]},
        **{"preview": float("nan"), "cos_infrared": row["score"], "cos_grayscale": 0.0, "nfe": 28, "dead": ""},
        "noise": recipe,
    }
    sheet = {
        **{**constants, **row, "key": own, "caption": each.prompt.caption, "candidates": len(scores), "rank": 1},
        "noise": recipe,
    }
    tables = {"candidates": [candidate], "contrasts": []}
    return Sample(each.prompt.index, PIXEL, "png", sheet, each.prompt.caption, row, tables)


class Cluster:
    """Lanes on nodes that are slow, late and lost as the seed says."""

    def __init__(self, lanes: int, hours: float, disturbed: bool) -> None:
        self.clock = Clock()
        losses = [_losses(node, hours) if disturbed else [] for node in range(-(-lanes // LANES_A_NODE))]
        slow = [disturbed and seeds.generator(0, number, "slow lanes").random() < SLOW_LANES for number in range(lanes)]
        self.lanes = [Lane(self.clock, number, losses[number // LANES_A_NODE], slow[number]) for number in range(lanes)]
        self.plan_s = 0.0
        self._plans: planning.Plans | None = None
        self._here = threading.local()

    def work(self, make_shards: Callable[[], object]) -> None:
        """Have all lanes make shards until none is missing."""

        def live(lane: Lane) -> None:
            self._here.lane = lane
            lane.live(make_shards)

        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(commit, "fcntl", Flock(self._here)))
            stack.enter_context(mock.patch.object(irgen, "generators", SimpleNamespace(load=self._load), create=True))
            stack.enter_context(mock.patch.object(guiding, "load", lambda *arguments: None))
            stack.enter_context(mock.patch.object(samples, "plan", self._plan))
            stack.enter_context(mock.patch.object(samples, "make", _make))
            stack.enter_context(files.watched(self._watch))
            self.clock.run([lambda lane=lane: live(lane) for lane in self.lanes])

    def _plan(self, *arguments: Any) -> planning.Plans:
        """Plan once for all lanes; each is a process with a plan of its own in truth."""
        if self._plans is None:
            began = time.process_time()
            self._plans = planning.plan(*arguments)
            self.plan_s = time.process_time() - began
        return self._plans

    def _load(self, *arguments: Any) -> Lane:
        lane: Lane = self._here.lane
        lane.sleep(LOAD_S)
        return lane

    def _watch(self, moment: files.Moment, operation: files.Operation) -> None:
        """Keep a lane that is dead from touching files: what a killed process was writing stays as it was."""
        if self._here.lane.lost:
            raise Lost


def _make(lane: Lane, judge: Any, wanted: Any, settings: Any, constants: Any, *others: Any) -> Iterator[Sample]:
    *_, advance = others
    for each in lane.render(wanted, settings, {**constants, "seed": str(settings.seed)}):
        yield each
        advance(1)


def _losses(node: int, hours: float) -> list[float]:
    """Draw the times at which a node is lost, in seconds."""
    drawn = seeds.generator(0, node, "losses")
    times: list[float] = []
    while not times or times[-1] < 2 * 3600 * hours:
        times.append((times[-1] + AWAY_S if times else 0.0) + float(drawn.exponential(BETWEEN_LOSSES_S)))
    return times


def inputs(root: Path) -> dict[str, store.Ref]:
    """Make the outputs that stage samples reads: a thousand captions, a verifier and an adapter of a few bytes."""
    refs = {}
    for name in ("captions", "verifier", "adapter"):
        folder = root / pipeline.stage_named(name).folder_name / "0"
        folder.mkdir(parents=True)
        if name == "captions":
            rows = [_caption(number) for number in range(CAPTIONS)]
            records.write_rows(folder / "captions.parquet", rows, Caption.SCHEMA)
        else:
            files.write_bytes(folder / "weights", name.encode())
        store.write_manifest(folder, {"stage": name, "figures": {}}, store.listing(folder))
        refs[name] = store.ref(folder)
    return refs


def _caption(number: int) -> Caption:
    text = f"a downtown street at night with two people near on the left and a car far away, view {number}"
    return Caption(f"f{number}", "train", text, forms.infrared(text), forms.grayscale(text), "rules", 40, False)


def simulate(count: int, lanes: int, per_shard: int, *, disturbed: bool = True) -> dict[str, Any]:
    """Build stage samples on a simulated cluster; return what that cost."""
    _share_one_heap()
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None, prefix="irgen-cluster-") as folder:
        root = Path(folder)
        refs = inputs(root)
        stage = pipeline.stage_named("samples")
        search = RandomSearch(candidates=12)
        wanted = SamplesSettings(images=count, steps=28, search=search, images_per_shard=per_shard)
        sections = {"samples": wanted, "base": BaseSettings(model="miniature", height_px=80, width_px=96)}
        cluster = Cluster(lanes, count * IMAGE_S / lanes / 3600, disturbed)
        marks = [time.process_time()]

        def helpers(out: Path, anew: bool) -> int:
            arguments = {**sections, **{name: ref.folder for name, ref in refs.items()}, "out": out}
            gc.collect()
            gc.freeze()  # the losses' collections need not look at what is there for good
            marks.append(time.process_time())
            cluster.work(lambda: samples.make_shards(**arguments, bar=_bar))
            marks.append(time.process_time())
            return lanes

        outcome = pipeline.run_stage(stage, root, sections, refs, helpers=helpers)
        marks.append(time.process_time())
        parts = dict(zip(("begun_s", "lanes_s", "ended_s"), _steps(marks), strict=True))
        folder_bytes = sum(path.stat().st_size for path in files.below(outcome.ref.folder))
        manifest = files.sha256_file(outcome.ref.folder / store.MANIFEST)
    simulated_s = cluster.clock.now_s
    total_s = sum(parts.values())
    return {
        "images": outcome.figures["images"],
        "shards": outcome.figures["shards"],
        "lanes": lanes,
        "simulated_h": round(simulated_s / 3600, 2),
        "efficiency": round(count * IMAGE_S / lanes / simulated_s, 4),
        "lanes_lost": sum(lane.times_lost for lane in cluster.lanes),
        "plan_s": round(cluster.plan_s, 3),
        **{name: round(seconds, 2) for name, seconds in parts.items()},
        "cpu_s": round(total_s, 1),
        "cpu_us_per_image": round(1e6 * total_s / count, 1),
        "overhead_share": round(total_s / simulated_s, 6),
        "most_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "output_mb": round(folder_bytes / 1e6, 1),
        "manifest_sha256": manifest,
    }


def _share_one_heap() -> None:
    """Keep each thread, of which one works at a time, from hoarding memory of its own."""
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _steps(marks: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


@contextlib.contextmanager
def _bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda count: None


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000], help="of each dataset")
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--per-shard", type=int, default=250)
    options = parser.parse_args()
    found = []
    for count in sorted(options.images):
        found.append(simulate(count, options.lanes, options.per_shard))
        print("  ".join(f"{name} {value}" for name, value in found[-1].items()), flush=True)
    command.finish(options, {"datasets": found})


if __name__ == "__main__":
    main()
