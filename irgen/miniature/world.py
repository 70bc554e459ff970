"""What one video shares: time, place, weather, camera and the thermal camera's gain control."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from irgen.miniature.canvas import Point

WIDTH_PX, HEIGHT_PX = 96, 80
TIMES = ("day", "night")
PLACES = ("campus", "road", "downtown")

FOCAL_PX = 135.0  # KAIST's lens: 39 degrees across the frame
BODY_M = 1.72
NEAREST_SCALE = 30.0  # px per metre, below the frame's lower border
FARTHEST_SCALE = 0.7


@dataclass(frozen=True, slots=True)
class World:
    """A video's surroundings.

    Attributes:
        time, place: of KAIST's sets.
        air_c: air temperature.
        sun: 0 (night) to 1, how much the sun lights and heats.
        cloud: 0 clear to 1 overcast.
        horizon_px: row of the horizon.
        vanish_px: column where the road vanishes.
        camera_m: height of the camera above the ground.
        road_half_m: half the road's width.
        agc_low_pct, agc_high_pct: percentiles of radiance that the gain control maps to black and white.
        agc_gamma: exponent after that; above 1 makes the image dark, as KAIST's are.
        agc_span_k: least temperature span between black and white.
        noise_k: temporal noise of the thermal sensor (NETD).
    """

    time: str
    place: str
    air_c: float
    sun: float
    cloud: float
    horizon_px: float
    vanish_px: float
    camera_m: float
    road_half_m: float
    agc_low_pct: float
    agc_high_pct: float
    agc_gamma: float
    agc_span_k: float
    noise_k: float

    @property
    def day(self) -> bool:
        """True by day."""
        return self.time == "day"

    def project(self, x_m: float, y_m: float, scale: float) -> Point:
        """Return the pixel of a point x_m right of the road's middle and y_m above ground, at `scale` px per metre."""
        return self.vanish_px + x_m * scale, self.horizon_px + (self.camera_m - y_m) * scale

    def ground_c(self, kind: str) -> float:
        """Return a ground's temperature: mineral surfaces store the sun's heat, also into the night."""
        heat = {"asphalt": (6.0, 3.0), "paving": (5.0, 2.2), "grass": (1.0, -1.5), "soil": (3.0, 0.3)}[kind]
        return self.air_c + (heat[0] * self.sun + 0.5 if self.day else heat[1])


def sample_world(rng: np.random.Generator, time: str = "", place: str = "") -> World:
    """Draw a world; an empty time or place is drawn, too."""
    time = time or TIMES[int(rng.random() < 0.45)]
    place = place or PLACES[int(rng.integers(len(PLACES)))]
    day = time == "day"
    road_half_m = {"campus": rng.uniform(1.5, 2.2), "road": rng.uniform(2.6, 3.6), "downtown": rng.uniform(2.2, 3.0)}
    return World(
        time=time,
        place=place,
        air_c=rng.uniform(8, 22) if day else rng.uniform(0, 13),
        sun=rng.uniform(0.35, 1.0) if day else 0.0,
        cloud=rng.uniform(0, 1),
        horizon_px=HEIGHT_PX * rng.uniform(0.36, 0.46),
        vanish_px=WIDTH_PX * rng.uniform(0.36, 0.64),
        camera_m=rng.uniform(1.65, 2.0),
        road_half_m=float(road_half_m[place]),
        agc_low_pct=rng.uniform(8, 25),
        agc_high_pct=rng.uniform(99.2, 99.8),
        agc_gamma=rng.uniform(1.1, 1.7),
        agc_span_k=rng.uniform(11, 15),
        noise_k=rng.uniform(0.08, 0.2),
    )


def depth_steps(near_scale: float, far_scale: float, step_m: float) -> list[float]:
    """Return scales (px per metre), near to far, of points `step_m` apart along the road."""
    near_m, far_m = FOCAL_PX / near_scale, FOCAL_PX / far_scale
    return [FOCAL_PX / (near_m + k * step_m) for k in range(math.ceil((far_m - near_m) / step_m) + 1)]
