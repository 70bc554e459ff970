"""A shard of 300 real infrared frames against webdataset's TarWriter, which encodes PNGs with PIL's defaults.

Ours also hashes every image and file, writes the Parquet index, and commits them: on disk, whole or not at all.

    python benchmarks/shard_writing.py --json
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import alternating  # first: it sets the threads
import command
import numpy as np
import pyarrow as pa
import real_data
from PIL import Image
from webdataset import TarWriter

from irgen import images
from irgen.shards import Sample, ShardedOutput

FRAMES = 300
COLUMNS = pa.schema([("score", pa.float64())])


def frames() -> np.ndarray:
    """Read KAIST's infrared frames, filled up with HIT-UAV's: uint8 [300, 512, 640, 3], as a generator gives them."""
    paths = [*real_data.kaist("lwir"), *real_data.hit_uav()][:FRAMES]
    return np.stack([np.array(Image.open(path).convert("RGB").resize((640, 512))) for path in paths])


def sheet(number: int) -> dict[str, Any]:
    return {"caption": "a person on a road at night", "score": float(number), "seed": str(number), "nfe": 336}


def ours(pixels: np.ndarray, folder: Path) -> None:
    output = ShardedOutput.open(folder / "ours", run={}, items=len(pixels), per_shard=len(pixels), columns=COLUMNS)
    with output.shard(0) as shard:
        for number, image_u8 in enumerate(pixels):
            data = images.encode(image_u8, "png")
            shard.add(Sample(number, data, "png", sheet(number), "a person", {"score": float(number)}))
    output.finish()


def theirs(pixels: np.ndarray, folder: Path) -> None:
    with TarWriter(str(folder / "theirs.tar")) as tar:
        for number, image_u8 in enumerate(pixels):
            tar.write({"__key__": f"{number:09d}", "png": image_u8, "json": sheet(number), "txt": "a person"})


def run(way: Any, pixels: np.ndarray, written: dict[str, Path], scratch: Path) -> None:
    """Write into a fresh folder, and note where the tar lies."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    way(pixels, folder)
    written[way.__name__] = next(folder.rglob("*.tar"))


def pixels_of(tar: Path) -> list[np.ndarray]:
    with tarfile.open(tar) as members:
        data = [members.extractfile(one).read() for one in members if one.name.endswith(".png")]  # type: ignore[union-attr]
    return [np.array(Image.open(io.BytesIO(one))) for one in data]


def measure(pairs: int) -> dict[str, Any]:
    pixels = frames()
    written: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as scratch:
        ways = (partial(run, way, pixels, written, Path(scratch)) for way in (theirs, ours))
        report: dict[str, Any] = alternating.compare(*ways, pairs)
        report["bytes_ratio"] = round(written["ours"].stat().st_size / written["theirs"].stat().st_size, 4)
        made = pixels_of(written["ours"])
        report["identical"] = len(made) == len(pixels) and all(map(np.array_equal, made, pixels))
    return report | {"images": len(pixels)}


def main() -> None:
    options = command.parser(__doc__, pairs=3).parse_args()
    for folder in ("kaist", "hit-uav"):
        real_data.skip_without(real_data.DATA / folder)
    report = measure(options.pairs)
    print(
        f"{report['images']} images: webdataset {report['cpu_s_compared']:.2f} CPU-s, irgen {report['cpu_s']:.2f}: "
        f"{report['ratio']:.2f} times less, {report['bytes_ratio']:.3f} of the bytes, "
        f"{'the same pixels' if report['identical'] else 'OTHER PIXELS'}"
    )
    command.finish(options, report)


if __name__ == "__main__":
    main()
