"""Fréchet distance at d = 2048 against clean-fid's, and the report's resamplings against one distance after another.

    OMP_NUM_THREADS=1 python benchmarks/frechet.py --json

Times are CPU seconds: medians of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
from cleanfid.fid import frechet_distance as cleanfid_distance

from irgen import seeds
from irgen.metrics.bootstrap import resample
from irgen.metrics.frechet import Distances, Statistics, frechet_distance, frechet_distances

DIMENSIONS = 2048
MANY, FEW = 2252, 1000
FRAMES_A_VIDEO = 25


def features(seed: int, count: int, shift: float) -> np.ndarray:
    """Draw features with an Inception-like spectrum, none below zero."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, DIMENSIONS + 1) ** -0.7
    return np.abs(rng.normal(size=(count, DIMENSIONS)) * spectrum * (1 + shift) + 0.1)


def seconds(work: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def distances(repeats: int) -> dict[str, float]:
    """Compare with clean-fid on many images (from the moments on, as it takes them) and on few (from the features)."""
    real, made = features(0, MANY, 0), features(1, MANY, 0.1)
    moments_real, moments_made = moments(real), moments(made)
    kept, of_made = Statistics.of(real), Statistics.of(made)
    assert kept.factor.shape == of_made.covariance.shape  # both are made once, as for the real set of a study
    few_real, few_made = real[:FEW], made[:FEW]
    runs = {
        "cleanfid": lambda: cleanfid_distance(*moments_real, *moments_made),
        "ours": lambda: frechet_distance(replace(kept), of_made),
        "cached": lambda: frechet_distance(kept, of_made),
        "few_cleanfid": lambda: cleanfid_distance(*moments(few_real), *moments(few_made)),
        "few": lambda: frechet_distances(few_real, {"made": few_made})["made"],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, work in runs.items():
            taken[name].append(seconds(work))
    cost = {name: median(one for one, _ in all_) for name, all_ in taken.items()}
    value = {name: all_[0][1] for name, all_ in taken.items()}
    errors = [
        value["ours"] / value["cleanfid"],
        value["cached"] / value["cleanfid"],
        value["few"] / value["few_cleanfid"],
    ]
    return {
        "speedup": cost["cleanfid"] / cost["ours"],
        "speedup_cached": cost["cleanfid"] / cost["cached"],
        "speedup_few": cost["few_cleanfid"] / cost["few"],
        "error": max(abs(error - 1) for error in errors),
        **{f"{name}_seconds": each for name, each in cost.items()},
    }


def resamples(draws: int) -> dict[str, float]:
    """Time a resampling of five sets, as the report makes 100 of, against five distances of the drawn rows."""
    real = features(0, MANY, 0)
    others = {str(number): features(number, MANY, 0.05 * number) for number in range(1, 6)}
    videos, single = [str(row // FRAMES_A_VIDEO) for row in range(MANY)], [str(row) for row in range(MANY)]
    start = time.process_time()
    prepared = Distances(real, others)
    costs, plain, errors = [], [], []
    for number in range(draws):
        rng = seeds.generator(0, number, "benchmark")
        rows, drawn = resample(videos, rng), resample(single, rng)
        begun = time.process_time()
        ours = prepared.at(rows, dict.fromkeys(others, drawn))
        costs.append(time.process_time() - begun)
        if number == 0:
            first = time.process_time() - start
            begun = time.process_time()
            whole = Statistics.of(real[rows])
            theirs = {name: frechet_distance(whole, Statistics.of(made[drawn])) for name, made in others.items()}
            plain.append(time.process_time() - begun)
            errors += [abs(ours[name] / theirs[name] - 1) for name in others]
    each = median(costs[1:])
    return {
        "resampling_seconds": each,
        "resampling_first_seconds": first,
        "resampling_speedup": plain[0] / each,
        "hundred_resamplings_seconds": first + 99 * each,
        "resampling_error": max(errors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    figures = {name: float(f"{value:.4g}") for name, value in {**distances(options.repeats), **resamples(4)}.items()}
    print(json.dumps(figures) if options.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
