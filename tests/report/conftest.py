"""Image sets and figures that were never measured, for the page and for what it says."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from irgen.lineage import Ancestor
from irgen.report.looking import Seen
from irgen.report.page import Comparison, Content, Picture
from irgen.report.sets import ImageSet

NAMES = ("real", "floor", "grayscale", "inverted", "unguided", "guided", "worst")
LEVELS = {"real": 90, "floor": 92, "grayscale": 190, "inverted": 210, "unguided": 120, "guided": 100, "worst": 150}


def flat_images(name: str, count: int, level: float, videos: int = 0, seed: int = 0) -> ImageSet:
    """Images of one grey level each, around `level`."""
    levels = np.random.default_rng([seed, *name.encode()]).normal(level, 12, count).clip(0, 255)
    keys = tuple(f"{number:06d}" for number in range(count))

    def read(wanted: Sequence[str]) -> Iterator[np.ndarray]:
        return (np.full((8, 10, 3), levels[int(key)], np.uint8) for key in wanted)

    groups = tuple(f"v{number * videos // count}" if videos else "" for number in range(count))
    times = tuple("day" if number % 2 else "night" for number in range(count))
    return ImageSet(name, keys, tuple(f"scene {key}" for key in keys), groups, times, read)


@pytest.fixture
def sets() -> dict[str, ImageSet]:
    videos = {"real": 8, "floor": 8, "grayscale": 8, "inverted": 8}
    return {name: flat_images(name, 64, LEVELS[name], videos.get(name, 0)) for name in NAMES}


@pytest.fixture
def candidates() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        [(f"{key:06d}", 0, number) for key in range(64) for number in range(12)],
        columns=["key", "attempt", "candidate"],
    )
    table["score"] = rng.normal(0.05, 0.03, len(table))
    table["nfe"] = 10
    table["dead"] = ""
    table.loc[7, ["dead", "score"]] = "flat image", np.nan
    table["kept"] = False
    table.loc[table.groupby("key")["score"].idxmax(), "kept"] = True
    return table


FID = {"floor": 0.52, "grayscale": 9.43, "inverted": 11.2, "unguided": 3.88, "guided": 2.19, "worst": 6.0}
IRSCORE = {"real": 0.121, "grayscale": -0.084, "inverted": -0.2, "unguided": 0.062, "guided": 0.149, "worst": 0.01}
GAIN = {"fid": [0.35, 2.84], "irscore": [0.08, 0.09]}


def shown(values: dict[str, float], width: float = 0.1) -> dict[str, dict[str, float]]:
    return {
        name: {"value": value, "low": value - width * abs(value), "high": value + width * abs(value)}
        for name, value in values.items()
    }


def net(independent: bool) -> dict[str, Any]:
    shares = dict.fromkeys(FID, 0.5)
    spread = ("precision", "recall", "density", "coverage", "vendi")
    figures = {"frechet": shown(FID), "kernel": shown(FID), **{metric: shown(shares) for metric in spread}}
    copying = shown({name: 0.4 for name in FID if name != "floor"})
    return {"independent": independent, "dimensions": 128, "figures": {**figures, "copying": copying}}


def steps(judge: str, metric: str, values: list[float]) -> list[dict[str, Any]]:
    return [
        {"judge": judge, "metric": metric, "candidates": count, "nfe": 10 * count, **shown({"": value})[""]}
        for count, value in zip((1, 4, 12), values, strict=True)
    ]


@pytest.fixture
def figures() -> dict[str, Any]:
    ends = {name: [one["low"], one["high"]] for name, one in shown(FID).items()} | {"unguided": [3.4, 4.4]}
    better = {
        "frechet": {"value": -1.69, "low": -2.84, "high": -0.35},
        "recall": {"value": 0.1, "low": -0.1, "high": 0.2},
    }
    quantities = {
        name: shown(dict.fromkeys(IRSCORE, -0.2)) for name in ("realism", "realism_edges", "brightness", "contrast")
    }
    others = {name: shown(dict.fromkeys(IRSCORE, 0.5)) for name in ("histogram_distance", "saturated", "colour")}
    realism = {"value": 0.1, "low": 0.05, "high": 0.2}
    own = net(True)
    own["figures"]["frechet"]["unguided"] = {"value": 3.88, "low": 3.4, "high": 4.4}
    return {
        "n": 256,
        "dimensions": 128,
        "feature_net": "scenenet",
        "feature_size_px": [96, 80],
        "fid": dict(FID),
        "irscore": dict(IRSCORE),
        "gain": {"fid": 1.69, "irscore": 0.087},
        "intervals": {
            "fid": ends,
            "irscore": {name: [value, value] for name, value in IRSCORE.items()},
            "gain": dict(GAIN),
        },
        "resamplings": 100,
        "resampled": "16 whole videos of real frames and of single generated images",
        "mix": {"day": 128, "night": 128},
        "mixes": {name: {"day": 128, "night": 128} for name in NAMES},
        "compression": "lossless on both sides",
        "judges": {"scenenet": own, "random-conv": net(True), "verifier": net(False)},
        "images_figures": {"irscore": shown(IRSCORE), **quantities, **others},
        "changes": {
            "scenenet": dict(better),
            "random-conv": dict(better),
            "verifier": dict(better),
            "images": {"realism": realism},
        },
        "curve": [
            *steps("images", "irscore", [0.06, 0.1, 0.15]),
            *steps("scenenet", "frechet", [3.9, 3.0, 2.2]),
            *steps("scenenet", "recall", [0.5, 0.52, 0.5]),
        ],
        "guide": ["irscore"],
        "alarm": {
            "rings": False,
            "goal": "IRSCORE",
            "falls": [],
            "stop_at_nfe": 120.0,
            "stop_at_candidates": 12,
            "judges": ["FID under scenenet", "FID under random-conv", "realism", "recall"],
        },
        "verifier_auc": {"gray": 0.998, "inverted": 0.991, "agc": 0.953, "rgb": 1.0, "match": 0.814},
        "verifier_test_auc": {"test grayscale": 0.985, "test guided": 0.41},
        "labels": {"mode": "none"},
        "tombstones": {"all candidates dead in 3 attempts: flat image": 2},
        "images": 256,
        "nfe_per_image": 120.0,
        "search": {
            "best_of": [0.062, 0.094, 0.11, 0.121, 0.129, 0.149],
            "best_of_band": [[0.06, 0.09, 0.1, 0.12, 0.12, 0.14], [0.07, 0.1, 0.12, 0.13, 0.14, 0.15]],
            "lowest": 0.012,
            "dead": {"flat image": 1},
        },
    }


def look_at(seed: int, score: float | None) -> Seen:
    rng = np.random.default_rng(seed)
    values = {"irscore": rng.normal(score, 0.03, 64)} if score is not None else {}
    return Seen({}, values, rng.dirichlet(np.ones(256), 64), rng.normal(-3, 0.2, (64, 12)))


def ramp(seed: int, height: int = 80, width: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    field = np.linspace(30, 160, width)[None] + np.linspace(0, 60, height)[:, None] + rng.normal(0, 6, (height, width))
    field[height // 3 : height // 2, width // 4 : width // 2] += 60
    return np.repeat(field.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.fixture
def content(figures: dict[str, Any], candidates: pd.DataFrame) -> Content:
    sheet = {"score": 0.149, "cos_infrared": 0.4, "cos_grayscale": 0.1, "frame_id": "set06/V000/I00001"}
    kinds = ("real", "grayscale", "unguided", "guided")
    grid = [
        Comparison(
            f"a downtown street at night with {row + 2} people near on the left and a cyclist far on the right",
            [
                Picture(kind, ramp(9 * row + place), "", sheet if kind == "guided" else None)
                for place, kind in enumerate(kinds)
            ],
        )
        for row in range(16)
    ]
    strip = [Comparison("a road", [Picture("guided", ramp(900 + place), "IRSCORE 0.149", sheet)]) for place in range(6)]
    stages = ("frames", "captions", "negatives", "verifier", "adapter", "samples", "shards")
    ancestors = [ancestor(stage, 3.0 * 2**number) for number, stage in enumerate(stages)]
    seen = {name: look_at(number, IRSCORE.get(name)) for number, name in enumerate(NAMES)}
    extremes = {"best": strip, "worst": strip}
    return Content("miniature", figures, seen, candidates, grid, extremes, {"truncated_image": 3}, ancestors, 12.5)


def ancestor(stage: str, seconds: float | None) -> Ancestor:
    settings = {stage: {"seed": 0, "source": "kaist"}}
    return Ancestor(
        {"stage": stage, "fingerprint": "0123456789abcdef", "version": 1, "settings": settings, "content": "ab" * 32},
        seconds,
    )


@pytest.fixture
def make_set() -> Callable[..., ImageSet]:
    return flat_images
