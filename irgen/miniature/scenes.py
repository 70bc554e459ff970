"""Procedural street scenes seen by a visible and a thermal camera at once, 96 x 80, with boxes.

The thermal image is computed from temperature, emissivity and a cold sky, then passes optics, sensor noise and an
8-bit gain control like KAIST's; clothing, paint and light, which make the visible image, are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from irgen import seeds
from irgen.miniature import figures
from irgen.miniature.backdrop import draw_backdrop
from irgen.miniature.canvas import Canvas, Layers
from irgen.miniature.world import BODY_M, HEIGHT_PX, WIDTH_PX, World, sample_world
from irgen.records import Box

CAR_M = 1.45
MIN_BOX_PX = 2
SEEN_AT_ALL = 0.2  # objects of which less is visible have no box
OCCLUDED_PARTLY, OCCLUDED_HEAVILY = 0.9, 0.5

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
PxRect = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a scene must contain; None is drawn at random.

    Attributes:
        world: surroundings; a video's frames share one.
        persons, cyclists, cars: how many of each to place.
    """

    world: World | None = None
    persons: int | None = None
    cyclists: int | None = None
    cars: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment in both modalities.

    Attributes:
        visible_u8: [80, 96, 3].
        lwir_u8: [80, 96].
        boxes: whole extents clipped to the frame, integer px, near ones last; labels person, cyclist, car.
        seen_px: of each box, x, y, w, h of what is not occluded.
        time: "day" or "night".
        place: "campus", "road" or "downtown".
    """

    visible_u8: U8
    lwir_u8: U8
    boxes: tuple[Box, ...]
    seen_px: tuple[PxRect, ...]
    time: str
    place: str


@dataclass(slots=True)
class _Placed:
    label: str
    first: int
    last: int
    rect: PxRect
    drawn_px: int = field(default=0)


def render(seed: int, item: int | str = 0, spec: Spec | None = None) -> Scene:
    """Draw one scene; the same arguments give the same pixels."""
    rng = seeds.generator(seed, item, "scene")
    spec = spec or Spec()
    world = spec.world or sample_world(rng)
    canvas = Canvas(WIDTH_PX, HEIGHT_PX)
    draw_backdrop(canvas, rng, world)
    placed = _place_objects(canvas, rng, world, spec)
    boxes, seen = _boxes(canvas, placed)
    layers = canvas.layers()
    return Scene(_visible(rng, world, layers), _thermal(rng, world, layers), boxes, seen, world.time, world.place)


def grayscale(visible_u8: U8) -> U8:
    """Return the luma of a visible image, [H, W] uint8."""
    return np.asarray(np.rint(visible_u8 @ np.array([0.299, 0.587, 0.114])), np.uint8)


def _place_objects(canvas: Canvas, rng: np.random.Generator, world: World, spec: Spec) -> list[_Placed]:
    """Draw the people and vehicles, far to near."""
    nobody = spec.persons is None and spec.cyclists is None and rng.random() < 0.12
    persons = int(rng.choice(5, p=[0.12, 0.38, 0.28, 0.14, 0.08])) if spec.persons is None else spec.persons
    cyclists = int(rng.choice(3, p=[0.68, 0.26, 0.06])) if spec.cyclists is None else spec.cyclists
    cars = int(rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])) if spec.cars is None else spec.cars
    if nobody:
        persons = cyclists = 0
    todo = [("person", _body_height_px(rng)) for _ in range(persons)]
    todo += [("cyclist", _body_height_px(rng)) for _ in range(cyclists)]
    todo += [("car", _body_height_px(rng) * CAR_M / BODY_M * 0.85) for _ in range(cars)]
    metres = {"person": BODY_M, "cyclist": BODY_M, "car": CAR_M}
    scaled = sorted((height / metres[label], label, height) for label, height in todo)
    placed: list[_Placed] = []
    for scale, label, height in scaled:
        foot_y = world.horizon_px + world.camera_m * scale
        half_px = {"person": 0.2, "cyclist": 0.4, "car": 0.62}[label] * height
        x = _free_column(rng, world, label, scale, half_px, foot_y, placed)
        first = canvas.start_object()
        if label == "person":
            figures.person(canvas, rng, world, (x, foot_y), height)
        elif label == "cyclist":
            figures.cyclist(canvas, rng, world, (x, foot_y), height)
        else:
            figures.car(canvas, rng, world, (x, foot_y), height, sideways=bool(rng.random() < 0.3))
        x0, y0, x1, y1 = canvas.end_object()
        last = canvas.material_count
        rect = (
            max(0, int(np.floor(x0))),
            max(0, int(np.floor(y0))),
            min(WIDTH_PX, int(np.ceil(x1))),
            min(HEIGHT_PX, int(np.ceil(y1))),
        )
        placed.append(_Placed(label, first, last, rect, int(canvas.drawn(first, last).sum())))
    return placed


def _body_height_px(rng: np.random.Generator) -> float:
    """Draw the height of a person: mostly 14 to 45 px, some farther away."""
    kind = rng.random()
    if kind < 0.07:
        return float(rng.uniform(5.5, 8))
    if kind < 0.24:
        return float(rng.uniform(8, 14))
    return float(np.exp(rng.uniform(np.log(14), np.log(45))))


def _free_column(
    rng: np.random.Generator,
    world: World,
    label: str,
    scale: float,
    half_px: float,
    foot_y: float,
    placed: list[_Placed],
) -> float:
    """Draw where an object stands, and draw again a few times while it would hide most of another."""
    x = WIDTH_PX / 2
    for _ in range(6):
        if label == "car":
            lane_m = rng.choice([-0.5, 0.5]) * world.road_half_m + rng.uniform(-0.3, 0.3)
            x = world.vanish_px + float(lane_m) * scale
        else:
            x = float(rng.uniform(0.04, 0.96)) * WIDTH_PX
        x = float(np.clip(x, 0.3 * half_px, WIDTH_PX - 0.3 * half_px))
        hidden = [
            min(p.rect[2], x + half_px) - max(p.rect[0], x - half_px) > 0.6 * (p.rect[2] - p.rect[0])
            and foot_y >= p.rect[3] - 1
            for p in placed
        ]
        if not any(hidden):
            break
    return x


def _boxes(canvas: Canvas, placed: list[_Placed]) -> tuple[tuple[Box, ...], tuple[PxRect, ...]]:
    boxes: list[Box] = []
    seen: list[PxRect] = []
    for obj in placed:
        left = canvas.drawn(obj.first, obj.last)
        share = left.sum() / max(obj.drawn_px, 1)
        x0, y0, x1, y1 = obj.rect
        if share < SEEN_AT_ALL or x1 - x0 < MIN_BOX_PX or y1 - y0 < MIN_BOX_PX:
            continue
        rect = _bounds(left)
        if min(rect[2:]) < MIN_BOX_PX:
            continue
        occlusion = int(share < OCCLUDED_PARTLY) + int(share < OCCLUDED_HEAVILY)
        boxes.append(Box(obj.label, float(x0), float(y0), float(x1 - x0), float(y1 - y0), occlusion))
        seen.append(rect)
    return tuple(boxes), tuple(seen)


def _bounds(mask: NDArray[np.bool_]) -> PxRect:
    """Return x, y, w, h in output pixels of a mask at drawing resolution."""
    scale = mask.shape[0] // HEIGHT_PX
    rows, columns = np.flatnonzero(mask.any(1)) // scale, np.flatnonzero(mask.any(0)) // scale
    x0, y0 = int(columns[0]), int(rows[0])
    return x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0


def _texture(rng: np.random.Generator) -> F32:
    """Return a zero-mean texture [80, 96] of coarse and fine grain, about unit variance."""
    coarse = zoom(rng.normal(0, 1, (HEIGHT_PX // 8, WIDTH_PX // 8)).astype(np.float32), 8, order=1)
    middle = zoom(rng.normal(0, 1, (HEIGHT_PX // 2, WIDTH_PX // 2)).astype(np.float32), 2, order=1)
    return np.asarray(0.7 * coarse + 0.8 * middle, np.float32)


def _visible(rng: np.random.Generator, world: World, layers: Layers) -> U8:
    albedo = layers.rgb * (1 + (layers.rough * _texture(rng))[..., None])
    shade = 1 - layers.ground * gaussian_filter(layers.shadow, 0.6)
    if world.day:
        warmth = (
            np.array([1.04, 1.0, 0.95], np.float32) if world.cloud < 0.5 else np.array([0.98, 1.0, 1.03], np.float32)
        )
        light = (0.72 + 0.33 * world.sun * (1 - 0.4 * world.cloud)) * shade
        image = albedo * light[..., None] * warmth
        noise = 0.008
    else:
        # Own headlamps light what is ahead; lamps and windows light their surroundings.
        rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
        ahead = np.exp(-(((columns - world.vanish_px) / 36) ** 2)) / (1 + np.exp(-(rows - world.horizon_px + 4) / 5))
        halo = gaussian_filter(layers.glow, (3, 3, 0)) * 1.1 + gaussian_filter(layers.glow, (9, 9, 0)) * 2.2
        light = (0.25 + 0.48 * ahead * shade)[..., None] * np.array([0.92, 0.95, 1.05], np.float32)
        image = albedo * (light + halo) + layers.glow + 0.15 * halo
        noise = 0.016
    image = image + rng.normal(0, noise, image.shape)
    return np.asarray(np.clip(np.rint(image * 255), 0, 255), np.uint8)


def _thermal(rng: np.random.Generator, world: World, layers: Layers) -> U8:
    diffuse = gaussian_filter(rng.normal(0, 1, (HEIGHT_PX, WIDTH_PX)), 3) * 4.0
    temp_c = gaussian_filter(layers.temp_c, 0.35) + diffuse
    sky_c = world.air_c - 40 + 20 * world.cloud
    radiance = layers.emissivity * _band_radiance(temp_c) + (1 - layers.emissivity) * _band_radiance(np.float64(sky_c))
    radiance = gaussian_filter(radiance, 0.55)
    per_kelvin = float(_band_radiance(np.float64(world.air_c + 0.5)) - _band_radiance(np.float64(world.air_c - 0.5)))
    radiance = radiance + per_kelvin * (
        rng.normal(0, world.noise_k, radiance.shape)
        + rng.normal(0, 0.7 * world.noise_k, (1, WIDTH_PX))
        + rng.normal(0, 0.4 * world.noise_k, (HEIGHT_PX, 1))
    )
    low, high = np.percentile(radiance, [world.agc_low_pct, world.agc_high_pct])
    # Without a least span an empty, even scene would be blown up to full contrast; the sky must not eat the range.
    low = max(low, float(_band_radiance(np.float64(world.air_c - 7))))
    high = max(high, low + world.agc_span_k * per_kelvin)
    image = np.clip((radiance - low) / (high - low), 0, 1) ** world.agc_gamma
    return np.asarray(np.rint(image * 255), np.uint8)


def _band_radiance(temp_c: NDArray[np.floating] | np.floating) -> NDArray[np.float64]:
    """Return a black body's radiance in 8-14 um, relative to 0 degrees Celsius.

    The exponent stands for c2 / lambda over the band; from -60 to 60 degrees this agrees with Planck's law to 3 %.
    """
    kelvin = np.asarray(temp_c, np.float64) + 273.15
    return np.asarray(np.exp(1330.0 / 273.15 - 1330.0 / kelvin))
