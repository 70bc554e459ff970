"""People, cyclists and cars, drawn upright on a foot point; lengths are fractions of the figure's height."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from irgen.miniature.canvas import Canvas, Material, Point, Rgb
from irgen.miniature.world import World

HAIR: tuple[Rgb, ...] = ((0.07, 0.05, 0.04), (0.2, 0.13, 0.08), (0.42, 0.3, 0.18), (0.5, 0.5, 0.5))
SKIN: tuple[Rgb, ...] = ((0.88, 0.68, 0.56), (0.76, 0.56, 0.43), (0.5, 0.34, 0.25))
CLOTH: tuple[Rgb, ...] = (
    (0.85, 0.12, 0.12),
    (0.15, 0.3, 0.75),
    (0.95, 0.85, 0.25),
    (0.93, 0.93, 0.93),
    (0.1, 0.1, 0.12),
    (0.15, 0.5, 0.3),
    (0.55, 0.55, 0.58),
    (0.9, 0.5, 0.15),
)
TROUSERS: tuple[Rgb, ...] = ((0.1, 0.1, 0.13), (0.16, 0.22, 0.4), (0.45, 0.38, 0.28), (0.3, 0.3, 0.32))
PAINT: tuple[Rgb, ...] = (
    (0.92, 0.92, 0.92),
    (0.08, 0.08, 0.09),
    (0.75, 0.1, 0.1),
    (0.12, 0.22, 0.6),
    (0.6, 0.61, 0.63),
    (0.85, 0.7, 0.2),
)
GLASS: Rgb = (0.13, 0.17, 0.22)
RUBBER: Rgb = (0.05, 0.05, 0.05)


@dataclass(frozen=True, slots=True)
class Body:
    """Material indices of one human; the `far_` ones are the limbs on the side turned away."""

    skin: int
    hair: int
    top: int
    far_top: int
    leg: int
    far_leg: int
    shoe: int


def person(canvas: Canvas, rng: np.random.Generator, world: World, foot: Point, height: float) -> None:
    """Draw a walking person whose feet stand on `foot` and whose head ends `height` px above."""
    body = _body(canvas, rng, world)
    x, y = foot
    _contact_shadow(canvas, world, foot, 0.24 * height, height)
    if rng.random() < 0.5:
        _walk_sideways(canvas, rng, body, x, y, height, 1 if rng.random() < 0.5 else -1)
    else:
        _walk_along(canvas, rng, body, x, y, height, face=bool(rng.random() < 0.6))


def cyclist(canvas: Canvas, rng: np.random.Generator, world: World, foot: Point, height: float) -> None:
    """Draw somebody riding a bicycle; `height` px from the tyres to the head's top."""
    body = _body(canvas, rng, world)
    frame_rgb = CLOTH[int(rng.integers(len(CLOTH)))]
    tyre = canvas.material(Material(RUBBER, world.air_c + 2.5, 0.93))
    metal = canvas.material(Material(frame_rgb, world.air_c + 0.5, 0.75))
    x, y = foot
    _contact_shadow(canvas, world, foot, 0.45 * height, height)
    if rng.random() < 0.7:
        _ride_sideways(canvas, rng, body, tyre, metal, x, y, height, 1 if rng.random() < 0.5 else -1)
    else:
        _ride_along(canvas, rng, body, tyre, metal, x, y, height)


def car(canvas: Canvas, rng: np.random.Generator, world: World, foot: Point, height: float, sideways: bool) -> None:
    """Draw a car standing on `foot` (middle of its lower edge)."""
    rgb = PAINT[int(rng.integers(len(PAINT)))]
    driving = rng.random() < 0.75
    # Dark paint takes up more sun; a clear night sky cools the roof below the air.
    body_c = world.air_c + (7 * world.sun * (1.2 - sum(rgb) / 3) if world.day else -1.0)
    parts = _CarParts(
        paint=canvas.material(Material(rgb, body_c, 0.88)),
        roof=canvas.material(Material(_scaled(rgb, 0.85), body_c - 1.0, 0.88)),
        glass=canvas.material(Material(GLASS, world.air_c - 4, 0.8)),
        trim=canvas.material(Material(_scaled(rgb, 0.45), body_c + 1.0, 0.93)),
        warm=canvas.material(Material(_scaled(rgb, 0.92), body_c + (9 if driving else 1), 0.93)),
        tyre=canvas.material(Material(RUBBER, world.air_c + (11 if driving else 3), 0.95)),
        hub=canvas.material(Material((0.6, 0.6, 0.62), world.air_c + (7 if driving else 2), 0.8)),
        under=canvas.material(Material((0.03, 0.03, 0.03), world.air_c + (9 if driving else 2), 0.95)),
        head=canvas.material(
            Material(
                (0.95, 0.95, 0.88), world.air_c + (8 if driving else 1), glow=_lit(world, driving, (1.3, 1.25, 1.1))
            )
        ),
        tail=canvas.material(
            Material(
                (0.75, 0.08, 0.06), world.air_c + (3 if driving else 0), glow=_lit(world, driving, (0.9, 0.1, 0.06))
            )
        ),
    )
    x, y = foot
    if sideways:
        _contact_shadow(canvas, world, foot, 1.45 * height, 0.5 * height)
        _car_sideways(canvas, parts, x, y, height, 1 if rng.random() < 0.5 else -1)
    else:
        _contact_shadow(canvas, world, foot, 0.68 * height, 0.5 * height)
        _car_along(canvas, parts, x, y, height, rear=bool(rng.random() < 0.6))


@dataclass(frozen=True, slots=True)
class _CarParts:
    paint: int
    roof: int
    glass: int
    trim: int
    warm: int
    tyre: int
    hub: int
    under: int
    head: int
    tail: int


def _body(canvas: Canvas, rng: np.random.Generator, world: World) -> Body:
    # Clothing lies between air and skin; its colour is not seen in the thermal image.
    cloth_c = world.air_c + (33 - world.air_c) * rng.uniform(0.36, 0.5) + 1.5 * world.sun
    leg_c = cloth_c - rng.uniform(0.5, 1.5)
    skin_c = 33.5 - 0.12 * max(0.0, 20 - world.air_c)
    top, trousers = CLOTH[int(rng.integers(len(CLOTH)))], TROUSERS[int(rng.integers(len(TROUSERS)))]

    def make(rgb: Rgb, temp_c: float) -> int:
        return canvas.material(Material(rgb, temp_c, 0.97))

    return Body(
        skin=make(SKIN[int(rng.integers(len(SKIN)))], skin_c),
        hair=make(HAIR[int(rng.integers(len(HAIR)))], skin_c - 5),
        top=make(top, cloth_c),
        far_top=make(_scaled(top, 0.7), cloth_c - 0.7),
        leg=make(trousers, leg_c),
        far_leg=make(_scaled(trousers, 0.7), leg_c - 0.7),
        shoe=make((0.12, 0.09, 0.08), world.air_c + 4),
    )


def _swing(origin: Point, length: float, angle: float, side: int) -> Point:
    """Return the end of a limb that hangs from `origin`, `angle` radians forward of straight down."""
    return origin[0] + side * length * math.sin(angle), origin[1] + length * math.cos(angle)


def _walk_sideways(
    canvas: Canvas, rng: np.random.Generator, body: Body, x: float, y: float, h: float, side: int
) -> None:
    stride = math.radians(rng.uniform(14, 30)) * (1 if rng.random() < 0.5 else -1)
    hip = (x, y - 0.5 * h)
    neck = (x + side * 0.03 * h, y - 0.8 * h)

    def leg(angle: float, material: int) -> None:
        knee = _swing(hip, 0.245 * h, angle + 0.08, side)
        ankle = _swing(knee, 0.225 * h, angle - (0.12 if angle > 0 else 0.4), side)
        canvas.limb([hip, knee, ankle], 0.1 * h, material)
        canvas.limb([ankle, (ankle[0] + side * 0.07 * h, ankle[1] + 0.01 * h)], 0.055 * h, body.shoe)

    def arm(angle: float, material: int) -> None:
        shoulder = (neck[0], neck[1] + 0.03 * h)
        elbow = _swing(shoulder, 0.16 * h, angle, side)
        hand = _swing(elbow, 0.15 * h, angle + 0.35, side)
        canvas.limb([shoulder, elbow, hand], 0.068 * h, material)
        canvas.ellipse(*hand, 0.035 * h, 0.035 * h, body.skin)

    arm(stride, body.far_top)
    leg(-stride, body.far_leg)
    leg(stride, body.leg)
    canvas.limb([(x, y - 0.52 * h), (neck[0], neck[1] + 0.05 * h)], 0.19 * h, body.top)
    _head(canvas, body, x + side * 0.05 * h, y - 0.915 * h, h, side)
    arm(-stride, body.far_top)


def _walk_along(canvas: Canvas, rng: np.random.Generator, body: Body, x: float, y: float, h: float, face: bool) -> None:
    lifted = rng.uniform(0.02, 0.1) * h
    spread = rng.uniform(0.05, 0.085) * h
    first = 1 if rng.random() < 0.5 else -1
    for side, up, material in ((first, lifted, body.far_leg), (-first, 0.0, body.leg)):
        hip, knee = (x + side * 0.05 * h, y - 0.5 * h), (x + side * (spread - 0.005 * h), y - 0.27 * h)
        ankle = (x + side * spread, y - 0.03 * h - up)
        canvas.limb([hip, knee, ankle], 0.095 * h, material)
        canvas.ellipse(ankle[0], ankle[1] + 0.005 * h, 0.045 * h, 0.028 * h, body.shoe)
    for side in (-1, 1):
        shoulder = (x + side * 0.125 * h, y - 0.79 * h)
        elbow = (x + side * rng.uniform(0.15, 0.185) * h, y - 0.64 * h)
        hand = (x + side * rng.uniform(0.13, 0.18) * h, y - 0.5 * h)
        canvas.limb([shoulder, elbow, hand], 0.064 * h, body.far_top)
        canvas.ellipse(*hand, 0.035 * h, 0.035 * h, body.skin)
    shoulders, waist, hips = 0.135 * h, 0.095 * h, 0.105 * h
    left = [(x - shoulders, y - 0.8 * h), (x - waist, y - 0.6 * h), (x - hips, y - 0.46 * h)]
    right = [(x + hips, y - 0.46 * h), (x + waist, y - 0.6 * h), (x + shoulders, y - 0.8 * h)]
    canvas.polygon([*left, *right, (x + 0.06 * h, y - 0.835 * h), (x - 0.06 * h, y - 0.835 * h)], body.top)
    _head(canvas, body, x, y - 0.915 * h, h, 0 if face else 2)


def _head(canvas: Canvas, body: Body, x: float, y: float, h: float, look: int) -> None:
    """Draw a head seen from the side (look -1, 1), the front (0) or behind (2)."""
    canvas.limb([(x, y), (x - (look if look in (-1, 1) else 0) * 0.02 * h, y + 0.1 * h)], 0.07 * h, body.skin)
    canvas.ellipse(x, y, 0.068 * h, 0.083 * h, body.hair)
    if look == 0:
        canvas.ellipse(x, y + 0.018 * h, 0.056 * h, 0.062 * h, body.skin)
    elif look != 2:
        canvas.ellipse(x + look * 0.022 * h, y + 0.016 * h, 0.046 * h, 0.06 * h, body.skin)


def _ride_sideways(
    canvas: Canvas,
    rng: np.random.Generator,
    body: Body,
    tyre: int,
    metal: int,
    x: float,
    y: float,
    h: float,
    side: int,
) -> None:
    radius = 0.195 * h
    rear, front = (x - side * 0.3 * h, y - radius), (x + side * 0.31 * h, y - radius)
    crank, saddle = (x - side * 0.02 * h, y - 0.18 * h), (x - side * 0.12 * h, y - 0.47 * h)
    bar = (x + side * 0.24 * h, y - 0.52 * h)
    hip, neck = (saddle[0], saddle[1] - 0.06 * h), (x + side * 0.09 * h, y - 0.8 * h)
    turn = rng.uniform(0, 2 * math.pi)

    def leg(phase: float, material: int) -> None:
        pedal = (crank[0] + 0.085 * h * math.cos(phase), crank[1] + 0.085 * h * math.sin(phase))
        knee = ((hip[0] + pedal[0]) / 2 + side * 0.11 * h, (hip[1] + pedal[1]) / 2 - 0.05 * h)
        canvas.limb([hip, knee, pedal], 0.085 * h, material)
        canvas.limb([pedal, (pedal[0] + side * 0.06 * h, pedal[1])], 0.05 * h, body.shoe)

    leg(turn + math.pi, body.far_leg)
    for hub in (rear, front):
        canvas.ring(*hub, radius, max(0.045 * h, 0.7), tyre)
    tube = max(0.028 * h, 0.5)
    canvas.limb([rear, crank, bar, saddle, rear], tube, metal)
    canvas.limb([saddle, crank], tube, metal)
    canvas.limb([front, (bar[0], bar[1] - 0.02 * h)], tube, metal)
    leg(turn, body.leg)
    canvas.limb([(hip[0], hip[1] - 0.02 * h), (neck[0], neck[1] + 0.05 * h)], 0.17 * h, body.top)
    _head(canvas, body, x + side * 0.14 * h, y - 0.915 * h, h, side)
    elbow = ((neck[0] + bar[0]) / 2 - side * 0.01 * h, (neck[1] + bar[1]) / 2 + 0.05 * h)
    canvas.limb([(neck[0], neck[1] + 0.04 * h), elbow, bar], 0.062 * h, body.far_top)
    canvas.ellipse(*bar, 0.034 * h, 0.034 * h, body.skin)


def _ride_along(
    canvas: Canvas, rng: np.random.Generator, body: Body, tyre: int, metal: int, x: float, y: float, h: float
) -> None:
    canvas.ellipse(x, y - 0.2 * h, max(0.035 * h, 0.5), 0.2 * h, tyre)
    canvas.limb([(x, y - 0.3 * h), (x, y - 0.54 * h)], max(0.03 * h, 0.5), metal)
    raised = 1 if rng.random() < 0.5 else -1
    for side in (-1, 1):
        lift = 0.1 * h if side == raised else 0.0
        knee, ankle = (x + side * 0.1 * h, y - 0.36 * h - lift), (x + side * 0.075 * h, y - 0.12 * h - lift)
        canvas.limb([(x + side * 0.06 * h, y - 0.5 * h), knee, ankle], 0.085 * h, body.leg)
        canvas.ellipse(ankle[0], ankle[1], 0.045 * h, 0.03 * h, body.shoe)
    canvas.limb([(x - 0.21 * h, y - 0.56 * h), (x + 0.21 * h, y - 0.56 * h)], max(0.03 * h, 0.5), metal)
    canvas.polygon(
        [
            (x - 0.14 * h, y - 0.79 * h),
            (x - 0.06 * h, y - 0.84 * h),
            (x + 0.06 * h, y - 0.84 * h),
            (x + 0.14 * h, y - 0.79 * h),
            (x + 0.09 * h, y - 0.48 * h),
            (x - 0.09 * h, y - 0.48 * h),
        ],
        body.top,
    )
    for side in (-1, 1):
        hand = (x + side * 0.19 * h, y - 0.57 * h)
        canvas.limb(
            [(x + side * 0.13 * h, y - 0.78 * h), (x + side * 0.2 * h, y - 0.67 * h), hand], 0.06 * h, body.far_top
        )
        canvas.ellipse(*hand, 0.034 * h, 0.034 * h, body.skin)
    _head(canvas, body, x, y - 0.915 * h, h, 0)


def _car_along(canvas: Canvas, parts: _CarParts, x: float, y: float, h: float, rear: bool) -> None:
    half = 0.62 * h
    for side in (-1, 1):
        inner, outer = x + side * 0.62 * half, x + side * 0.95 * half
        canvas.rectangle(min(inner, outer), y - 0.24 * h, max(inner, outer), y, parts.tyre)
    canvas.rectangle(x - 0.9 * half, y - 0.2 * h, x + 0.9 * half, y - 0.08 * h, parts.under)
    canvas.polygon(
        [
            (x - half, y - 0.2 * h),
            (x - half, y - 0.5 * h),
            (x - 0.9 * half, y - 0.62 * h),
            (x + 0.9 * half, y - 0.62 * h),
            (x + half, y - 0.5 * h),
            (x + half, y - 0.2 * h),
        ],
        parts.paint,
    )
    canvas.polygon(
        [
            (x - 0.86 * half, y - 0.6 * h),
            (x - 0.64 * half, y - 0.96 * h),
            (x - 0.5 * half, y - h),
            (x + 0.5 * half, y - h),
            (x + 0.64 * half, y - 0.96 * h),
            (x + 0.86 * half, y - 0.6 * h),
        ],
        parts.roof,
    )
    canvas.polygon(
        [
            (x - 0.72 * half, y - 0.62 * h),
            (x - 0.55 * half, y - 0.92 * h),
            (x + 0.55 * half, y - 0.92 * h),
            (x + 0.72 * half, y - 0.62 * h),
        ],
        parts.glass,
    )
    if not rear:
        canvas.polygon(
            [
                (x - 0.8 * half, y - 0.5 * h),
                (x - 0.7 * half, y - 0.6 * h),
                (x + 0.7 * half, y - 0.6 * h),
                (x + 0.8 * half, y - 0.5 * h),
            ],
            parts.warm,
        )
        canvas.rectangle(x - 0.45 * half, y - 0.42 * h, x + 0.45 * half, y - 0.3 * h, parts.trim)
    canvas.rectangle(x - 0.96 * half, y - 0.26 * h, x + 0.96 * half, y - 0.19 * h, parts.trim)
    lamp = parts.tail if rear else parts.head
    for side in (-1, 1):
        inner, outer = x + side * 0.6 * half, x + side * 0.95 * half
        canvas.rectangle(min(inner, outer), y - 0.5 * h, max(inner, outer), y - 0.37 * h, lamp)


def _car_sideways(canvas: Canvas, parts: _CarParts, x: float, y: float, h: float, side: int) -> None:
    half = 1.4 * h

    def at(u: float, v: float) -> Point:
        return x + side * u * half, y - v * h

    canvas.polygon([at(-0.9, 0.12), at(-0.9, 0.22), at(0.9, 0.22), at(0.9, 0.12)], parts.under)
    canvas.polygon(
        [at(-1, 0.2), at(-1, 0.5), at(-0.9, 0.62), at(0.45, 0.62), at(0.95, 0.5), at(1, 0.38), at(1, 0.2)], parts.paint
    )
    canvas.polygon([at(0.45, 0.62), at(0.95, 0.51), at(0.93, 0.42), at(0.45, 0.45)], parts.warm)
    canvas.polygon([at(-0.78, 0.6), at(-0.55, 0.97), at(-0.4, 1), at(0.1, 1), at(0.22, 0.95), at(0.5, 0.6)], parts.roof)
    canvas.polygon([at(-0.64, 0.63), at(-0.48, 0.91), at(-0.2, 0.91), at(-0.2, 0.63)], parts.glass)
    canvas.polygon([at(-0.12, 0.63), at(-0.12, 0.91), at(0.13, 0.91), at(0.36, 0.63)], parts.glass)
    canvas.polygon([at(-1, 0.42), at(-1, 0.54), at(-0.93, 0.54), at(-0.93, 0.42)], parts.tail)
    canvas.polygon([at(1, 0.33), at(0.97, 0.45), at(0.89, 0.45), at(0.91, 0.33)], parts.head)
    for u in (-0.6, 0.62):
        canvas.ellipse(*at(u, 0.2), 0.22 * h, 0.2 * h, parts.tyre)
        canvas.ellipse(*at(u, 0.2), 0.1 * h, 0.1 * h, parts.hub)


def _contact_shadow(canvas: Canvas, world: World, foot: Point, half: float, height: float) -> None:
    strength = 0.25 + 0.35 * world.sun * (1 - 0.7 * world.cloud)
    canvas.shade(foot[0] + 0.2 * half * world.sun, foot[1], half, max(0.04 * height, 0.6), strength)


def _lit(world: World, driving: bool, rgb: Rgb) -> Rgb:
    return rgb if driving and not world.day else (0.0, 0.0, 0.0)


def _scaled(rgb: Rgb, factor: float) -> Rgb:
    return rgb[0] * factor, rgb[1] * factor, rgb[2] * factor
