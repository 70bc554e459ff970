"""A drawing surface whose pixels are *materials*: drawn once, seen by the visible camera and by the thermal one.

Shapes are painted with PIL at three times the resolution, back to front, as indices into a table of materials; each
modality then looks its quantity up and averages 3x3 pixels. So both images share every edge, and what is left of an
object's index says how much of it is occluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SUPERSAMPLING = 3

Point = tuple[float, float]
Rgb = tuple[float, float, float]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Material:
    """What a surface is to either camera.

    Attributes:
        rgb: visible albedo in 0..1.
        temp_c: surface temperature, degrees Celsius.
        emissivity: in 8-14 um, 0..1; the rest of the radiance is reflected cold sky.
        glow: visible light emitted, in 0..1 and above.
        rough: relative amplitude of the visible texture.
        ground: 1 where shadows fall on it.
    """

    rgb: Rgb
    temp_c: float
    emissivity: float = 0.95
    glow: Rgb = (0.0, 0.0, 0.0)
    rough: float = 0.0
    ground: float = 0.0

    def row(self) -> list[float]:
        """Return the material as a row of `Layers`' table."""
        return [*self.rgb, self.temp_c, self.emissivity, *self.glow, self.rough, self.ground]


@dataclass(frozen=True, slots=True)
class Layers:
    """The drawn scene at output resolution; every array is [H, W] or [H, W, 3] float32."""

    rgb: F32
    temp_c: F32
    emissivity: F32
    glow: F32
    rough: F32
    ground: F32
    shadow: F32


class Canvas:
    """Materials painted back to front; all coordinates are output pixels (floats), 0 at the left and top border."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.width_px, self.height_px = width_px, height_px
        self._ids = Image.new("I", (width_px * SUPERSAMPLING, height_px * SUPERSAMPLING))
        self._draw = ImageDraw.Draw(self._ids)
        self._shadow = Image.new("L", (width_px, height_px))
        self._shadow_draw = ImageDraw.Draw(self._shadow)
        self._rows: list[list[float]] = []
        self._extent: list[float] | None = None

    def material(self, material: Material) -> int:
        """Register a material and return its index."""
        self._rows.append(material.row())
        return len(self._rows) - 1

    @property
    def material_count(self) -> int:
        """How many materials are registered."""
        return len(self._rows)

    def polygon(self, points: Sequence[Point], material: int) -> None:
        """Fill a polygon."""
        self._grow(points)
        self._draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=material)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, material: int) -> None:
        """Fill an upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], material)

    def ellipse(self, x: float, y: float, rx: float, ry: float, material: int) -> None:
        """Fill an ellipse around (x, y)."""
        self._grow([(x - rx, y - ry), (x + rx, y + ry)])
        s = SUPERSAMPLING
        self._draw.ellipse([(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s], fill=material)

    def ring(self, x: float, y: float, radius: float, width: float, material: int) -> None:
        """Draw a circle's rim, `width` thick, inside `radius`."""
        self._grow([(x - radius, y - radius), (x + radius, y + radius)])
        s = SUPERSAMPLING
        corners = [(x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s]
        self._draw.ellipse(corners, outline=material, width=max(1, round(width * s)))

    def limb(self, points: Sequence[Point], width: float, material: int) -> None:
        """Draw a thick line with round joints and ends."""
        for (xa, ya), (xb, yb) in pairwise(points):
            length = max(float(np.hypot(xb - xa, yb - ya)), 1e-6)
            nx, ny = (ya - yb) / length * width / 2, (xb - xa) / length * width / 2
            self.polygon([(xa + nx, ya + ny), (xb + nx, yb + ny), (xb - nx, yb - ny), (xa - nx, ya - ny)], material)
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, material)

    def shade(self, x: float, y: float, rx: float, ry: float, strength: float) -> None:
        """Let a shadow of strength 0..1 fall on ground materials."""
        self._shadow_draw.ellipse([x - rx, y - ry, x + rx, y + ry], fill=int(255 * strength))

    def start_object(self) -> int:
        """Begin an object; its extent and pixels are counted until `end_object`. Return its first material index."""
        self._extent = [np.inf, np.inf, -np.inf, -np.inf]
        return len(self._rows)

    def end_object(self) -> tuple[float, float, float, float]:
        """End the object and return its extent (x0, y0, x1, y1), not clipped to the canvas."""
        assert self._extent is not None
        x0, y0, x1, y1 = self._extent
        self._extent = None
        return x0, y0, x1, y1

    def drawn(self, first: int, last: int) -> NDArray[np.bool_]:
        """Return where materials first..last-1 are seen now, bool at drawing resolution."""
        ids = np.asarray(self._ids)
        return (ids >= first) & (ids < last)

    def layers(self) -> Layers:
        """Return the scene's quantities at output resolution."""
        table = np.asarray(self._rows, np.float32)
        ids, s = np.asarray(self._ids), SUPERSAMPLING
        total = np.zeros((self.height_px, self.width_px, table.shape[1]), np.float32)
        for dy in range(s):
            for dx in range(s):
                total += table[ids[dy::s, dx::s]]
        total /= s * s
        shadow = np.asarray(self._shadow, np.float32) / np.float32(255)
        return Layers(
            rgb=total[..., :3],
            temp_c=total[..., 3],
            emissivity=total[..., 4],
            glow=total[..., 5:8],
            rough=total[..., 8],
            ground=total[..., 9],
            shadow=shadow,
        )

    def _grow(self, points: Sequence[Point]) -> None:
        if self._extent is not None:
            xs, ys = [p[0] for p in points], [p[1] for p in points]
            e = self._extent
            self._extent = [min(e[0], *xs), min(e[1], *ys), max(e[2], *xs), max(e[3], *ys)]
