"""Image files to arrays and back, checked: what is broken, hostile or of an odd kind never comes through as pixels.

Arrays are uint8, [height, width, 3] in RGB or [height, width] in gray, 0 black and 255 white.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import deflate
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from irgen import files
from irgen.errors import SourceError

MAX_PIXELS = 64_000_000
"""More is refused as a decompression bomb; a 640x512 frame has 0.3 million."""
MAX_BYTES = 256 << 20
SENSOR_MAX = (1 << 14) - 1
"""Thermal cores count in 14 bits: 16-bit images that span no more hold counts (or hundredths of a kelvin), not
brightness."""
OUTLIERS = (0.1, 99.9)
"""Percentiles between which the scene's counts lie."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")

JPEG_QUALITY = 95
PNG_LEVEL = 3
"""Of libdeflate; on LWIR frames a ninth of the time of zlib's default level, for as many bytes."""

ImageFormat = Literal["png", "jpg"]
Reason = Literal["unreadable_image", "empty_image", "truncated_image", "oversized_image"]
T = TypeVar("T")


class BadImageError(SourceError):
    """An image file that cannot be used; `reason` is the word under which rejects count it."""

    def __init__(self, path: Path, reason: Reason, detail: str) -> None:
        super().__init__(f"{path}: {detail}", "Replace or remove the file.")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` learnt of a sound image file: sha256 of its bytes, and its upright size."""

    sha256: str
    width_px: int
    height_px: int


def check(path: Path) -> Checked:
    """Decode an image file wholly and hash it.

    Raises:
        BadImageError: missing, empty, truncated, oversized, or no image.
    """
    data = _bytes(path)
    width_px, height_px = _decoded(path, data, _size)
    return Checked(hashlib.sha256(data).hexdigest(), width_px, height_px)


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file as uint8 [H, W, 3]; gray is repeated, alpha dropped, EXIF rotation applied.

    Raises:
        BadImageError: see `check`.
    """
    return _decoded(path, _bytes(path), lambda image: np.array(_eight_bit(image).convert("RGB")))


def read_gray(path: Path) -> np.ndarray:
    """Read an image file as uint8 [H, W]: ITU-R BT.601 luma of a colour image.

    16-bit images are scaled by their full range, or, where the scene spans no more than 14 bits, from its least to its
    greatest sensor count.

    Raises:
        BadImageError: see `check`.
    """
    return _decoded(path, _bytes(path), lambda image: np.array(_eight_bit(image).convert("L")))


def resize(image_u8: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Resize uint8 [H, W] or [H, W, 3], bicubic, antialiased when it shrinks."""
    if image_u8.shape[:2] == (height_px, width_px):
        return image_u8.copy()
    return np.array(Image.fromarray(image_u8).resize((width_px, height_px), Image.Resampling.BICUBIC))


def encode(image_u8: np.ndarray, image_format: ImageFormat) -> bytes:
    """Encode uint8 [H, W] or [H, W, 3]; equal images are equal bytes. jpg is quality 95 without chroma subsampling."""
    if image_format == "png":
        return _png(image_u8)
    stream = io.BytesIO()
    Image.fromarray(image_u8).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _png(image_u8: np.ndarray) -> bytes:
    """Encode as PNG (W3C PNG, third edition), every row as its difference from the one above (filter type 2).

    No library of images compresses by libdeflate, which is faster than zlib and, unlike zlib-ng, writes the same bytes
    on every processor.
    """
    height, width = image_u8.shape[:2]
    rows = image_u8.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    colour_type = 0 if image_u8.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    pixels = deflate.zlib_compress(filtered, PNG_LEVEL)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes | bytearray) -> bytes:
    """Return a PNG chunk: length, name, data, and the checksum of the latter two."""
    checksum = deflate.crc32(data, deflate.crc32(name))
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def _bytes(path: Path) -> bytes:
    try:
        if not files.is_regular(path):
            raise BadImageError(path, "unreadable_image", "not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise BadImageError(path, "oversized_image", f"over {MAX_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise BadImageError(path, "unreadable_image", error.strerror or str(error)) from error
    if not data:
        raise BadImageError(path, "empty_image", "the file has 0 bytes")
    return data


def _decoded(path: Path, data: bytes, use: Callable[[Image.Image], T]) -> T:
    if _is_cut(data):
        raise BadImageError(path, "truncated_image", f"ends before the image does, after {len(data)} bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height}"
                raise BadImageError(path, "oversized_image", f"{size} is over {MAX_PIXELS} pixels")
            image.load()
            return use(ImageOps.exif_transpose(image))
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError(path, "oversized_image", str(error)) from error
    except UnidentifiedImageError as error:
        raise BadImageError(path, "unreadable_image", f"not one of {', '.join(FORMATS)}") from error
    except Exception as error:
        # Whatever a decoder raises over hostile bytes (struct.error, KeyError, OverflowError), the file is at fault.
        reason: Reason = "truncated_image" if "truncated" in str(error) else "unreadable_image"
        raise BadImageError(path, reason, str(error) or type(error).__name__) from error


def _is_cut(data: bytes) -> bool:
    """Tell whether a JPEG or PNG lacks its end: decoders fill in for a missing last part without a word.

    In a JPEG's coded data 0xFF is stuffed, so that an end-of-image marker after the last start-of-scan is real.
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" not in data[-64:]


def _size(image: Image.Image) -> tuple[int, int]:
    """Return an image's size, once it is known that its grey levels can be read."""
    if image.mode not in ("L", "RGB"):
        _eight_bit(image).convert("L")
    return image.size


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("has values that are not finite")
    # A dead or a hot pixel is no end of the scene.
    low, high = (float(value) for value in np.percentile(values, OUTLIERS))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if image.mode != "F" and values.min() >= 0 and SENSOR_MAX < high - low < 1 << 16:
        low, high = 0.0, 65535.0
    scaled = np.clip((values - low) * (255 / (high - low)), 0, 255) if high > low else np.zeros_like(values)
    return Image.fromarray(np.round(scaled).astype(np.uint8))
