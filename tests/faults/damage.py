"""Damage of finished datasets and of images: how much of it is found."""

import io
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from irgen import shards, sources
from irgen.errors import StoreError
from irgen.records import Reject
from irgen.settings import FramesSettings
from tests.shards.outputs import fill, tars


def cuts(scratch: Path, items: int = 11) -> tuple[int, int]:
    """Cut a tar at every 512 bytes; return how many were tried, and found by `verify` and by reading."""
    fill(scratch, items=items)
    path = tars(scratch)[1]
    data = path.read_bytes()
    tried = found = 0
    for length in range(0, len(data), 512):
        path.write_bytes(data[:length])
        tried += 1
        found += bool(shards.verify(scratch)) and not _reads(scratch)
    path.write_bytes(data)
    assert not shards.verify(scratch)
    return tried, found


def flips(scratch: Path, count: int, seed: int = 0) -> tuple[int, int]:
    """Flip random bits of random files of a finished output; return how many were tried, and found by `verify`."""
    fill(scratch)
    chance = random.Random(seed)
    paths = sorted(path for path in scratch.rglob("*") if path.is_file())
    found = 0
    for _ in range(count):
        path = chance.choice(paths)
        data = path.read_bytes()
        bent = bytearray(data)
        bent[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(bent)
        found += bool(shards.verify(scratch))
        path.write_bytes(data)
    assert not shards.verify(scratch)
    return count, found


def truncated(scratch: Path, count: int, seed: int = 0) -> tuple[int, Counter[str]]:
    """Read a folder of sound and truncated JPEGs; return how many were cut, and rejects by reason."""
    scratch.mkdir(parents=True)
    chance = random.Random(seed)
    random_u8 = np.random.default_rng(seed)
    for number in range(count):
        stream = io.BytesIO()
        values = random_u8.integers(0, 256, (48, 64), np.uint8)
        Image.fromarray(values).save(stream, "JPEG", progressive=number % 2 == 1)
        data = stream.getvalue()
        (scratch / f"cut{number:03d}.jpg").write_bytes(data[: chance.randrange(len(data))])
        (scratch / f"whole{number:03d}.jpg").write_bytes(data)
    settings = FramesSettings(source="folder", root=str(scratch))
    found = list(sources.read(settings, scratch))
    rejects = [one for one in found if isinstance(one, Reject)]
    assert all(one.item.startswith("cut") for one in rejects)
    assert len(found) == 2 * count
    shutil.rmtree(scratch)
    return count, Counter(one.reason for one in rejects)


def _reads(folder: Path) -> bool:
    try:
        list(shards.read(folder))
    except StoreError:
        return False
    return True
