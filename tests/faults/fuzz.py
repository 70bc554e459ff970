"""Every parser of what comes from outside, under bytes that were bent on purpose: an answer or a named error."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from irgen import files, images, rewards, shards, store
from irgen.errors import IrgenError
from irgen.metrics import proxy
from irgen.settings import FramesSettings, load_manifest
from irgen.shards.committed import read_run, records
from irgen.sources import annotation_files, hit_uav, listing
from irgen.sources.annotation_files import BadAnnotationError
from tests.shards import outputs

CALTECH = b"% bbGt version=3\nperson 10 20.5 30 40 0 0 0 0 0 0 0\npeople 1 2 3 4 1 0 0 0 0 1 0\n"
XML = (
    b"<?xml version='1.0' encoding='utf-8'?><annotation><size><width>640</width><height>512</height></size>"
    b"<object><name>person</name><bndbox><x>1</x><y>2</y><w>30</w><h>40</h></bndbox><occlusion>1</occlusion>"
    b"<difficult>0</difficult></object></annotation>"
)
COCO = json.dumps(
    {
        "images": [{"id": 1, "filename": "0_60_30_0_00001.jpg", "width": 640, "height": 512, "date_captured": "d"}],
        "annotation": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 3.5, 4], "iscrowd": 0}],
        "categories": [{"id": 0, "name": "Person"}],
    }
).encode()
YAML = yaml.safe_dump(
    {
        "dataset": "tiny",
        "frames": {"source": "folder", "root": "photos", "image_sets": ["a.txt"]},
        "verifier": {"bar": {"gray": 0, "match": 0}},
        "samples": {"images": 24, "search": {"algorithm": "random", "candidates": 3}},
    }
).encode()
WORDS = (b"&a [*a,*a]", b"!!python/object:os.system", b"1e999", b"-1", b"9" * 400, b"NaN", b"null", b"[]", b"{}", b"\0")
"""Pieces that parsers are known to trip over."""


@dataclass(frozen=True)
class Parser:
    """Something that reads bytes from outside.

    Attributes:
        name: for the table.
        seeds: sound inputs, to be bent.
        parse: reads a file.
        allowed: what it may raise.
        suffix: of the file's name.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    parse: Callable[[Path], object]
    allowed: tuple[type[Exception], ...] = (IrgenError,)
    suffix: str = ""


Recipe = tuple[int, Sequence[tuple[str, float, int, bytes]]]
"""Which sound input, and what is done to it: how, where in 0..1, a number, a piece."""


def recipes(count: int) -> st.SearchStrategy[Recipe | bytes]:
    """Sound inputs after a few flips, cuts, repetitions and insertions; and now and then mere bytes.

    Hypothesis keeps what it draws for as long as a run lasts: a recipe is small, what it makes may be megabytes.
    """
    edit = st.tuples(
        st.sampled_from(("flip", "cut", "repeat", "insert", "end")),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
        st.sampled_from(WORDS) | st.binary(max_size=8),
    )
    return st.tuples(st.integers(0, count - 1), st.lists(edit, max_size=6)) | st.binary(max_size=200)


def _bend(data: bytes, edits: Sequence[tuple[str, float, int, bytes]]) -> bytes:
    for how, where, number, piece in edits:
        at = int(where * len(data))
        if how == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at] + data[at + number :]
        elif how == "repeat":
            data = data[:at] + data[at : at + number] * 2 + data[at + number :]
        elif how == "insert":
            data = data[:at] + piece + data[at:]
        elif how == "end":
            data = data[:at]
    return data


def _picture(form: str, mode: str = "RGB", **options: object) -> bytes:
    values = np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3)
    stream = io.BytesIO()
    Image.fromarray(values).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def _pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint16).reshape(12, 16) * 300).save(deep, "PNG")
    return [
        _picture("JPEG", exif=exif),
        _picture("JPEG", "CMYK"),
        _picture("PNG"),
        _picture("PNG", "P"),
        _picture("TIFF", compression="tiff_lzw"),
        _picture("BMP"),
        _picture("WEBP"),
        deep.getvalue(),
    ]


def _archives() -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number, data in enumerate((CALTECH, XML)):
            info = tarfile.TarInfo(f"set00/V000/I0000{number}.{'txt' if number == 0 else 'xml'}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return [gzip.compress(stream.getvalue(), mtime=0), stream.getvalue()]


def _reward_files() -> list[bytes]:
    rewards = np.random.default_rng(0).normal(size=(40, 2, 2)).astype(np.float32)
    written = []
    for save_ in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save_(stream, reward=rewards)
        written.append(stream.getvalue())
    return written


class Output:
    """A finished sharded output of which one file is bent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        outputs.fill(folder, items=3, per_shard=3)
        self.sound = outputs.contents(folder)

    def seed(self, name: str) -> list[bytes]:
        """Return the bytes of the file with a part of its path."""
        return [self.sound[self.path(name)]]

    def path(self, name: str) -> str:
        """Return the first path that has a part."""
        return next(path for path in sorted(self.sound) if name in path)

    def bent(self, name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
        """Read the output with one of its files replaced; changed bytes must be told."""

        def parse(path: Path) -> object:
            place = self.folder / self.path(name)
            data = path.read_bytes()
            place.write_bytes(data)
            try:
                told = shards.verify(self.folder)
                assert bool(told) == (data != self.sound[self.path(name)]), told
                return read(self.folder)
            finally:
                place.write_bytes(self.sound[self.path(name)])

        return parse


def parsers(scratch: Path) -> list[Parser]:
    """All of them; `scratch` is a folder that is not there yet."""
    scratch.mkdir(parents=True)
    output = Output(scratch / "output")
    coco = scratch / "coco"
    uav = FramesSettings(source="hit-uav", root=str(coco), annotations=str(coco / "train.json"), annotations_only=True)

    def read_uav(path: Path) -> object:
        files.write_bytes(coco / "train.json", path.read_bytes())
        return list(hit_uav.read(uav, coco))

    bad = (BadAnnotationError,)
    return [
        Parser("Caltech text", lambda: [CALTECH], lambda path: annotation_files.parse_caltech(path.read_bytes()), bad),
        Parser("VOC XML", lambda: [XML], lambda path: annotation_files.parse_xml(path.read_bytes()), bad),
        Parser("annotations in a .tar.gz", lambda: _archives()[:1], _read_archive, (IrgenError, *bad), ".tar.gz"),
        Parser("annotations in a .tar", lambda: _archives()[1:], _read_archive, (IrgenError, *bad), ".tar"),
        Parser("COCO JSON (HIT-UAV)", lambda: [COCO], read_uav),
        Parser("images", _pictures, _read_image),
        Parser("lists of frames", lambda: [b"set00/V000/I00001\n"], lambda path: listing.read_lists([str(path)])),
        Parser("dataset manifest (YAML)", lambda: [YAML], load_manifest),
        Parser("rewards (npz)", _reward_files, rewards.load),
        Parser(
            "weights (safetensors)",
            lambda: [save({name: tensor.numpy() for name, tensor in proxy.SceneNet().state_dict().items()})],
            proxy.load,
        ),
        Parser("output manifest", lambda: output.seed("manifest.json"), output.bent("manifest.json", store.ref)),
        Parser("run.json", lambda: output.seed("run.json"), output.bent("run.json", read_run)),
        Parser("commit record", lambda: output.seed("commit/"), output.bent("commit/", records)),
        Parser("shard (tar)", lambda: output.seed("shards/"), output.bent("shards/", _read_all)),
        Parser("table (Parquet)", lambda: output.seed("meta/"), output.bent("meta/", shards.table)),
    ]


def _read_archive(path: Path) -> object:
    opened = annotation_files.open_set(path)
    return [opened.of(frame_id) for frame_id in opened.files]


def _read_image(path: Path) -> object:
    images.check(path)
    return images.read_rgb(path), images.read_gray(path)


def _read_all(folder: Path) -> object:
    for path in shards.parts(folder, "shards"):
        list(shards.read_shard(path))
    return list(shards.read(folder))


def attack(parser: Parser, scratch: Path, cases: int) -> int:
    """Give a parser so many inputs; return how many.

    Raises:
        Exception: one that the parser let through, with the input that made it, as short as it can be.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f"case{parser.suffix}"
    seeds = parser.seeds()
    strategy = recipes(len(seeds))
    count = itertools.count()

    def one(recipe: Recipe | bytes) -> None:
        next(count)
        path.write_bytes(recipe if isinstance(recipe, bytes) else _bend(seeds[recipe[0]], recipe[1]))
        try:
            parser.parse(path)
        except parser.allowed as error:
            assert str(error)

    bounded = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(strategy)(one))()
    return next(count)
