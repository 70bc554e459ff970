"""Sky, ground, road, buildings, trees and lamps of a world, drawn far to near."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from irgen.miniature.canvas import Canvas, Material, Rgb
from irgen.miniature.world import FARTHEST_SCALE, FOCAL_PX, NEAREST_SCALE, World, depth_steps

SKY_BANDS = 9
ASPHALT: Rgb = (0.25, 0.25, 0.27)
PAVING: Rgb = (0.56, 0.53, 0.5)
MARKING: Rgb = (0.93, 0.92, 0.85)
WALLS: tuple[Rgb, ...] = (
    (0.66, 0.42, 0.32),
    (0.75, 0.68, 0.55),
    (0.55, 0.56, 0.6),
    (0.82, 0.8, 0.76),
    (0.45, 0.33, 0.28),
)
FOLIAGE: tuple[Rgb, ...] = ((0.13, 0.34, 0.12), (0.2, 0.42, 0.14), (0.1, 0.28, 0.14), (0.36, 0.4, 0.12))
LAMP_GLOW: Rgb = (1.5, 1.25, 0.8)


def draw_backdrop(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    """Draw everything but people and vehicles."""
    _sky(canvas, world)
    _horizon(canvas, rng, world)
    _ground(canvas, rng, world)
    if world.place == "downtown":
        _street_fronts(canvas, rng, world)
    elif world.place == "campus":
        for _ in range(int(rng.integers(1, 4))):
            _pavilion(canvas, rng, world)
    _road(canvas, rng, world)
    trees = {"campus": (4, 8), "road": (2, 6), "downtown": (0, 3)}[world.place]
    scales = np.sort(rng.uniform(1.6, 6.0, int(rng.integers(*trees))))
    for scale in scales:
        _tree(canvas, rng, world, float(scale))
    if world.place == "road":
        _guard_rail(canvas, rng, world)
    _lamps(canvas, rng, world)


def _sky(canvas: Canvas, world: World) -> None:
    grey = np.array([0.78, 0.8, 0.84])
    for k in range(SKY_BANDS):
        down = (k + 0.5) / SKY_BANDS
        if world.day:
            blue = np.array([0.36 + 0.36 * down, 0.58 + 0.25 * down, 0.93 - 0.03 * down])
            rgb = blue + (grey - blue) * world.cloud * 0.85
        else:
            rgb = np.array([0.1, 0.11, 0.2]) + np.array([0.22, 0.17, 0.12]) * down**2
        # A clear sky is far colder than the air; clouds radiate and so does the haze at the horizon.
        sky_c = world.air_c - 42 + 22 * world.cloud + (10 - 4 * world.cloud) * down**2
        y0, y1 = world.horizon_px * k / SKY_BANDS, world.horizon_px * (k + 1) / SKY_BANDS + 1
        r, g, b = (float(c) for c in rgb)
        canvas.rectangle(-1, y0, canvas.width_px + 1, y1, canvas.material(Material((r, g, b), float(sky_c), 1.0)))


def _horizon(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    """Draw hills, far trees or far blocks where ground meets sky."""
    hz = world.horizon_px
    if world.place == "downtown":
        x = -2.0
        while x < canvas.width_px:
            w = rng.uniform(5, 14)
            wall = _varied(rng, WALLS[int(rng.integers(len(WALLS)))], 0.7)
            block = canvas.material(
                Material(wall, world.air_c + (2 * world.sun if world.day else 1.5), 0.93, rough=0.05)
            )
            canvas.rectangle(x, hz - rng.uniform(3, 15), x + w, hz + 1, block)
            x += w
        return
    tint = (0.3, 0.4, 0.36) if world.place == "road" else (0.2, 0.34, 0.18)
    hills = canvas.material(Material(_varied(rng, tint, 1.0), world.air_c - 1, 0.97, rough=0.08))
    phases = rng.uniform(0, 2 * np.pi, 3)
    xs = np.linspace(-1, canvas.width_px + 1, 25)
    tops = (
        hz
        - 3
        - sum(a * (1 + np.sin(xs * f + p)) for a, f, p in zip((2.2, 1.2, 0.6), (0.05, 0.13, 0.4), phases, strict=True))
    )
    canvas.polygon([(-1, hz + 1), *zip(xs.tolist(), tops.tolist(), strict=True), (canvas.width_px + 1, hz + 1)], hills)


def _ground(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    kind = {"campus": "grass", "road": "soil" if rng.random() < 0.4 else "grass", "downtown": "paving"}[world.place]
    rgb = {"grass": (0.34, 0.48, 0.2), "soil": (0.5, 0.44, 0.32), "paving": PAVING}[kind]
    ground = Material(_varied(rng, rgb, 1.0), world.ground_c(kind), 0.95, rough=0.1, ground=1)
    canvas.rectangle(-1, world.horizon_px, canvas.width_px + 1, canvas.height_px + 1, canvas.material(ground))


def _road(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    half, asphalt_c = world.road_half_m, world.ground_c("asphalt")
    paved = world.place == "campus" and rng.random() < 0.6
    rgb = PAVING if paved else ASPHALT
    if world.place == "downtown":
        kerb = canvas.material(Material((0.7, 0.69, 0.66), world.ground_c("paving"), 0.94, ground=1))
        _strip(canvas, world, -half - 0.18, half + 0.18, NEAREST_SCALE, FARTHEST_SCALE, kerb)
    surface = canvas.material(Material(_varied(rng, rgb, 1.0), asphalt_c, 0.95, rough=0.05, ground=1))
    _strip(canvas, world, -half, half, NEAREST_SCALE, FARTHEST_SCALE, surface)
    if paved:
        return
    # Paint is nearly as warm as the asphalt under it: markings hardly show in the thermal image.
    paint = canvas.material(Material(MARKING, asphalt_c - 0.4 * world.sun, 0.945, ground=1))
    if world.place != "campus":
        for side in (-1, 1):
            edge = side * (half - 0.28)
            _strip(canvas, world, edge - 0.07, edge + 0.07, NEAREST_SCALE, 1.2, paint)
    offset_m = rng.uniform(0, 5)
    scales = depth_steps(FOCAL_PX / (4 + offset_m), 1.0, 2.6)
    for near, far in zip(scales[::2], scales[1::2], strict=False):
        _strip(canvas, world, -0.08, 0.08, near, far, paint)
    if world.place == "downtown" and rng.random() < 0.35:
        near = rng.uniform(7, 13)
        far = FOCAL_PX / (FOCAL_PX / near + 3.0)
        for x in np.arange(-half + 0.3, half - 0.4, 0.75):
            _strip(canvas, world, float(x), float(x) + 0.4, near, far, paint)


def _strip(canvas: Canvas, world: World, x0: float, x1: float, near: float, far: float, material: int) -> None:
    """Draw a strip of ground from x0 to x1 (metres) between two scales."""
    corners = [(x0, near), (x0, far), (x1, far), (x1, near)]
    canvas.polygon([world.project(x, 0.0, scale) for x, scale in corners], material)


def _street_fronts(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    """Draw a row of houses along either side of the street."""
    for side in (-1, 1):
        front_m = side * (world.road_half_m + rng.uniform(1.6, 2.6))
        scales = [FOCAL_PX / z for z in np.cumsum([7.0, *rng.uniform(9, 18, 7)])]
        for near, far in reversed(list(pairwise(scales))):
            if rng.random() < 0.88:
                _house(canvas, rng, world, front_m, near, far)


def _house(canvas: Canvas, rng: np.random.Generator, world: World, front_m: float, near: float, far: float) -> None:
    height_m = float(rng.uniform(5, 15))
    wall_rgb = _varied(rng, WALLS[int(rng.integers(len(WALLS)))], 1.0)
    wall_c = world.air_c + (rng.uniform(0.5, 5) * world.sun if world.day else rng.uniform(1, 4))
    wall = canvas.material(Material(wall_rgb, wall_c, 0.93, rough=0.06))
    side_wall = canvas.material(Material(_dimmed(wall_rgb, 0.75), wall_c - 0.8, 0.93, rough=0.06))
    back_m = front_m + np.sign(front_m) * 8
    canvas.polygon(
        [world.project(x, y, far) for x, y in ((front_m, 0), (front_m, height_m), (back_m, height_m), (back_m, 0))],
        side_wall,
    )
    corners = [(0.0, near), (height_m, near), (height_m, far), (0.0, far)]
    canvas.polygon([world.project(front_m, y, scale) for y, scale in corners], wall)
    near_m, far_m = FOCAL_PX / near, FOCAL_PX / far
    bays = max(2, round((far_m - near_m) / 3.6))
    for floor in range(int(height_m // 3)):
        for bay in range(bays):
            start = near_m + (bay + 0.25) * (far_m - near_m) / bays
            end = near_m + (bay + 0.75) * (far_m - near_m) / bays
            window = canvas.material(_window(rng, world, wall_c, shop=floor == 0))
            low, high = 3 * floor + (0.3 if floor == 0 else 0.9), 3 * floor + 2.4
            quad = [(low, FOCAL_PX / start), (high, FOCAL_PX / start), (high, FOCAL_PX / end), (low, FOCAL_PX / end)]
            canvas.polygon([world.project(front_m, y, scale) for y, scale in quad], window)


def _pavilion(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    """Draw a campus building seen from the front, beside the path."""
    scale = float(rng.uniform(1.1, 2.6))
    width_m, height_m = float(rng.uniform(12, 26)), float(rng.uniform(6, 13))
    left_m = world.road_half_m + 2 + float(rng.uniform(0, 16))
    if rng.random() < 0.5:
        left_m = -left_m - width_m
    wall_c = world.air_c + (rng.uniform(0.5, 5) * world.sun if world.day else rng.uniform(1, 4))
    wall_rgb = _varied(rng, WALLS[int(rng.integers(len(WALLS)))], 1.0)
    wall = canvas.material(Material(wall_rgb, wall_c, 0.93, rough=0.05))
    roof = canvas.material(Material(_dimmed(wall_rgb, 0.55), wall_c - 2, 0.92))
    x0, y0 = world.project(left_m, height_m, scale)
    x1, y1 = world.project(left_m + width_m, 0, scale)
    canvas.rectangle(x0, y0, x1, y1, wall)
    canvas.rectangle(x0 - 0.3 * scale, y0 - 0.8 * scale, x1 + 0.3 * scale, y0, roof)
    bays, floors = int(width_m // 3.4), int(height_m // 3)
    for floor in range(floors):
        for bay in range(bays):
            x_m, y_m = left_m + (bay + 0.25) * width_m / bays, 3 * floor + 0.9
            xa, ya = world.project(x_m, y_m + 1.5, scale)
            xb, yb = world.project(x_m + 0.5 * width_m / bays, y_m, scale)
            canvas.rectangle(xa, ya, xb, yb, canvas.material(_window(rng, world, wall_c, shop=False)))


def _window(rng: np.random.Generator, world: World, wall_c: float, shop: bool) -> Material:
    # Glass mirrors the cold sky, so windows are dark in LWIR though they glow in the visible image at night.
    lit = not world.day and rng.random() < (0.6 if shop else 0.3)
    glow = (0.85, 0.66, 0.36) if lit else (0.0, 0.0, 0.0)
    shade = float(rng.uniform(0.8, 1.2))
    return Material((0.17 * shade, 0.24 * shade, 0.32 * shade), wall_c + (0.5 if shop else -1.5), 0.8, glow=glow)


def _tree(canvas: Canvas, rng: np.random.Generator, world: World, scale: float) -> None:
    away_m = world.road_half_m + float(rng.uniform(0.8, 2.5 + 14 / scale))
    x_m = away_m if rng.random() < 0.5 else -away_m
    crown_m, trunk_m = float(rng.uniform(1.1, 1.9)), float(rng.uniform(1.6, 2.6))
    x, foot = world.project(x_m, 0, scale)
    top = foot - (trunk_m + crown_m) * scale
    bark = canvas.material(Material((0.27, 0.19, 0.12), world.air_c + 0.5, 0.95))
    canvas.shade(x, foot, crown_m * scale, 0.25 * crown_m * scale, 0.3 + 0.3 * world.sun)
    canvas.limb([(x, foot), (x, foot - trunk_m * scale)], max(0.28 * scale, 0.6), bark)
    green = _varied(rng, FOLIAGE[int(rng.integers(len(FOLIAGE)))], 1.0)
    leaf_c = world.air_c + rng.uniform(-1, 0.5) + 0.8 * world.sun
    dark = canvas.material(Material(_dimmed(green, 0.72), leaf_c - 0.6, 0.98, rough=0.22))
    light = canvas.material(Material(_dimmed(green, 1.18), leaf_c + 0.4, 0.98, rough=0.22))
    for angle in rng.uniform(0, 2 * np.pi, 5):
        dx, dy = 0.5 * crown_m * scale * np.cos(angle), 0.45 * crown_m * scale * np.sin(angle)
        canvas.ellipse(x + dx, top + dy, 0.7 * crown_m * scale, 0.62 * crown_m * scale, dark)
    canvas.ellipse(
        x - 0.2 * crown_m * scale, top - 0.3 * crown_m * scale, 0.75 * crown_m * scale, 0.6 * crown_m * scale, light
    )


def _guard_rail(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    rail = canvas.material(Material((0.62, 0.64, 0.66), world.air_c + 1.5 * world.sun - 1, 0.7))
    side = 1 if rng.random() < 0.5 else -1
    x_m = side * (world.road_half_m + 0.6)
    quad = [(0.75, 14.0), (0.4, 14.0), (0.4, FARTHEST_SCALE), (0.75, FARTHEST_SCALE)]
    canvas.polygon([world.project(x_m, y, scale) for y, scale in quad], rail)
    for scale in depth_steps(14.0, 2.0, 4.0):
        canvas.limb([world.project(x_m, 0.75, scale), world.project(x_m, 0, scale)], max(0.1 * scale, 0.4), rail)


def _lamps(canvas: Canvas, rng: np.random.Generator, world: World) -> None:
    spacing_m = float(rng.uniform(14, 24))
    side = 1 if rng.random() < 0.5 else -1
    pole = canvas.material(Material((0.36, 0.37, 0.38), world.air_c + 0.5, 0.85))
    glow = LAMP_GLOW if not world.day else (0.0, 0.0, 0.0)
    bulb = canvas.material(Material((0.8, 0.8, 0.74), world.air_c + (14 if not world.day else 2), 0.9, glow=glow))
    x_m = side * (world.road_half_m + 0.9)
    for scale in reversed(depth_steps(FOCAL_PX / rng.uniform(14, 22), 1.2, spacing_m)):
        width = max(0.14 * scale, 0.5)
        head_m = x_m - side * 1.1
        canvas.limb(
            [world.project(x_m, 0, scale), world.project(x_m, 5, scale), world.project(head_m, 5.2, scale)], width, pole
        )
        canvas.ellipse(*world.project(head_m, 5.1, scale), max(0.4 * scale, 0.8), max(0.17 * scale, 0.6), bulb)


def _varied(rng: np.random.Generator, rgb: Rgb, level: float) -> Rgb:
    r, g, b = (float(np.clip(c * level * f, 0, 1)) for c, f in zip(rgb, rng.uniform(0.88, 1.12, 3), strict=True))
    return r, g, b


def _dimmed(rgb: Rgb, factor: float) -> Rgb:
    return min(rgb[0] * factor, 1.0), min(rgb[1] * factor, 1.0), min(rgb[2] * factor, 1.0)
