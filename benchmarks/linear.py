"""Whether cost grows with the number of images alone: four times the prompts, and memory from shard 10 to shard 100.

python benchmarks/linear.py --json
"""

from __future__ import annotations

import gc
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import alternating  # first: it sets the threads
import command
import psutil
import pyarrow as pa
import small_flux
from small_flux import TINY, Bench

from irgen import images
from irgen.generators import Engine
from irgen.generators.flux import Flux
from irgen.search import Prompt, search
from irgen.settings import BaseSettings, RandomSearch
from irgen.shards import Sample, ShardedOutput

FEW, MANY = 10, 40
AT_ONCE, BATCH = 2, 8
SHARDS, EARLY = 100, 10
COLUMNS = pa.schema([("score", pa.float64())])


def prompts(bench: Bench, start: int, count: int) -> list[Prompt]:
    like = bench.prompts
    return [replace(like[number % len(like)], index=number) for number in range(start, start + count)]


def generate(bench: Bench, count: int) -> None:
    """Search as the samples stage does, some prompts at once."""
    for start in range(0, count, AT_ONCE):
        some = prompts(bench, start, AT_ONCE)
        search(bench.generator, bench.verifier, some, RandomSearch(candidates=4), seed=0, attempt=0, batch=BATCH)


def growth(bench: Bench, folder: Path) -> dict[str, float]:
    """Return the resident memory after shard 10 and after shard 100, each of two images found in two steps."""
    base = BaseSettings(height_px=small_flux.HEIGHT_PX, width_px=small_flux.WIDTH_PX, max_sequence_length=48)
    generator = Engine(Flux(bench.pipeline, base, steps=2, guidance=small_flux.GUIDANCE), BATCH, BATCH)
    output = ShardedOutput.open(folder, run={}, items=SHARDS * AT_ONCE, per_shard=AT_ONCE, columns=COLUMNS)
    resident: dict[int, int] = {}
    for number in range(output.count):
        some = prompts(bench, number * AT_ONCE, AT_ONCE)
        found = search(generator, bench.verifier, some, RandomSearch(candidates=4), seed=0, attempt=0, batch=BATCH)
        with output.shard(number) as shard:
            for one in found:
                assert one.kept is not None
                data = images.encode(one.images[one.kept.number], "png")
                row = {"score": one.kept.score}
                shard.add(Sample(one.prompt.index, data, "png", {**row, "seed": "0"}, one.prompt.caption, row))
        if number + 1 in (EARLY, SHARDS):
            gc.collect()
            resident[number + 1] = psutil.Process().memory_info().rss
    return {
        "rss_growth": round(resident[SHARDS] / resident[EARLY] - 1, 5),
        "rss_mib": round(resident[SHARDS] / 2**20, 1),
    }


def measure(pairs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        bench = small_flux.build(Path(folder) / "flux", TINY, BATCH)
        generate(bench, AT_ONCE)
        times: dict[str, Any] = alternating.compare(lambda: generate(bench, MANY), lambda: generate(bench, FEW), pairs)
        return times | growth(bench, Path(folder) / "shards")


def main() -> None:
    options = command.parser(__doc__, pairs=5).parse_args()
    report = measure(options.pairs)
    print(
        f"{MANY} prompts cost {report['ratio']:.3f} times {FEW}; resident memory grows by "
        f"{100 * report['rss_growth']:.2f} % from shard {EARLY} to shard {SHARDS}"
    )
    command.finish(options, report)


if __name__ == "__main__":
    main()
