"""Image sets and figures that were never measured, for the page and for what it says."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from irgen.report.lineage import Ancestor
from irgen.report.measure import Measured
from irgen.report.page import Comparison, Content, Picture
from irgen.report.sets import ImageSet

NAMES = ("real", "floor", "grayscale", "unguided", "guided", "worst")
LEVELS = {"real": 90, "floor": 92, "grayscale": 190, "unguided": 120, "guided": 100, "worst": 150}


def flat_images(name: str, count: int, level: float, videos: int = 0, seed: int = 0) -> ImageSet:
    """Images of one grey level each, around `level`."""
    levels = np.random.default_rng([seed, *name.encode()]).normal(level, 12, count).clip(0, 255)
    keys = tuple(f"{number:06d}" for number in range(count))

    def read(wanted: Sequence[str]) -> Iterator[np.ndarray]:
        return (np.full((8, 10, 3), levels[int(key)], np.uint8) for key in wanted)

    groups = tuple(f"v{number * videos // count}" if videos else "" for number in range(count))
    return ImageSet(name, keys, tuple(f"scene {key}" for key in keys), groups, read)


@pytest.fixture
def sets() -> dict[str, ImageSet]:
    videos = {"real": 8, "floor": 8, "grayscale": 8}
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


@pytest.fixture
def figures() -> dict[str, Any]:
    return {
        "n": 256,
        "dimensions": 128,
        "feature_net": "scenenet",
        "feature_size_px": [96, 80],
        "fid": {"floor": 0.52, "grayscale": 9.43, "unguided": 3.88, "guided": 2.19, "worst": 6.0},
        "irscore": {"real": 0.121, "grayscale": -0.084, "unguided": 0.062, "guided": 0.149, "worst": 0.01},
        "gain": {"fid": 1.69, "irscore": 0.087},
        "intervals": {
            "fid": {
                "floor": [0.4, 0.66],
                "grayscale": [8.8, 10.1],
                "unguided": [3.4, 4.4],
                "guided": [1.8, 2.6],
                "worst": [5.1, 7.2],
            },
            "irscore": {
                "real": [0.11, 0.13],
                "grayscale": [-0.09, -0.07],
                "unguided": [0.05, 0.07],
                "guided": [0.14, 0.155],
                "worst": [0.0, 0.02],
            },
            "gain": {"fid": [0.35, 2.84], "irscore": [0.08, 0.09]},
        },
        "resamplings": 100,
        "resampled": "16 whole videos of real frames and of single generated images",
        "verifier_auc": {"gray": 0.998, "inverted": 0.991, "agc": 0.953, "rgb": 1.0, "match": 0.814},
        "images": 256,
        "nfe_per_image": 120.0,
        "search": {"best_of": [0.062, 0.094, 0.11, 0.121, 0.129, 0.149], "lowest": 0.012, "dead": {"flat image": 1}},
    }


def ramp(seed: int, height: int = 80, width: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    field = np.linspace(30, 160, width)[None] + np.linspace(0, 60, height)[:, None] + rng.normal(0, 6, (height, width))
    field[height // 3 : height // 2, width // 4 : width // 2] += 60
    return np.repeat(field.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.fixture
def content(figures: dict[str, Any], candidates: pd.DataFrame) -> Content:
    rng = np.random.default_rng(6)
    scores = {name: rng.normal(mean, 0.03, 256) for name, mean in figures["irscore"].items()}
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
    stages = ("frames", "captions", "negatives", "verifier", "adapter", "samples", "shards")
    ancestors = [ancestor(stage, 3.0 * 2**number) for number, stage in enumerate(stages)]
    return Content("miniature", Measured(figures, scores), candidates, grid, {"truncated_image": 3}, ancestors, 12.5)


def ancestor(stage: str, seconds: float | None) -> Ancestor:
    settings = {stage: {"seed": 0, "source": "kaist"}}
    return Ancestor(
        {"stage": stage, "fingerprint": "0123456789abcdef", "version": 1, "settings": settings, "content": "ab" * 32},
        seconds,
    )


@pytest.fixture
def make_set() -> Callable[..., ImageSet]:
    return flat_images
