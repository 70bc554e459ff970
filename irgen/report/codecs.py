"""What images went through before they are compared: JPEG leaves traces that a feature net sees (arXiv 2104.11222).

So both sides go through the same: PNG is compared with PNG, and where one side is JPEG the other is coded alike.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from irgen import images
from irgen.records import Frame

U8 = NDArray[np.uint8]
Codec = Callable[[U8], U8]
Read = Callable[[Sequence[str]], Iterator[U8]]
JPEG_SUFFIXES = (".jpg", ".jpeg")


def raw(image_u8: U8) -> U8:
    """Leave an image as it is."""
    return image_u8


def as_ours(image_u8: U8) -> U8:
    """Code an image as the dataset's own JPEGs are, quality 95 without chroma subsampling."""
    return _decoded(images.encode(image_u8, "jpg"))


@dataclass(frozen=True)
class Jpeg:
    """A camera's or dataset's JPEG: quantisation tables and chroma subsampling (PIL's number) of one of its files."""

    tables: tuple[tuple[int, ...], ...]
    subsampling: int

    def __call__(self, image_u8: U8) -> U8:
        """Code an image alike."""
        stream = io.BytesIO()
        tables = [list(table) for table in self.tables]
        Image.fromarray(image_u8).save(stream, "JPEG", qtables=tables, subsampling=self.subsampling)
        return _decoded(stream.getvalue())


@dataclass(frozen=True)
class Codecs:
    """What each kind of image goes through before it is compared.

    Attributes:
        real: frames, and the baselines made of them.
        kept: the dataset's images.
        contrasts: unguided and lowest ones, which the samples stage keeps as PNG whatever the dataset's format.
        words: the same, for the report.
    """

    real: Codec
    kept: Codec
    contrasts: Codec
    words: str


NO_CODECS = Codecs(raw, raw, raw, "lossless on both sides")


def matched(frames: Sequence[Frame], root: Path, kept_format: str) -> Codecs:
    """Say what must be done to compare a dataset with real frames.

    Args:
        frames: real ones; the first tells for all, as the files of one recording are coded alike.
        root: folder that their paths are relative to.
        kept_format: png or jpg, of the dataset.
    """
    theirs = (
        _jpeg_of(root / frames[0].lwir) if frames and Path(frames[0].lwir).suffix.lower() in JPEG_SUFFIXES else None
    )
    if kept_format == "jpg" and theirs:
        return Codecs(raw, raw, as_ours, "JPEG on both sides, each as it is stored")
    if kept_format == "jpg":
        return Codecs(as_ours, raw, as_ours, "JPEG, quality 95, on both sides")
    if theirs:
        return Codecs(raw, theirs, theirs, "generated images coded by the JPEG tables of the real frames' files")
    return NO_CODECS


def through(codec: Codec, read: Read) -> Read:
    """Return a reader whose images went through a codec."""
    return lambda keys: (codec(image) for image in read(keys))


def _jpeg_of(path: Path) -> Jpeg | None:
    with Image.open(path) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return None
        sampling = JpegImagePlugin.get_sampling(image)
        return Jpeg(tuple(tuple(table) for table in image.quantization.values()), max(0, sampling))


def _decoded(data: bytes) -> U8:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))
