"""Two ways to do the same work, timed in turns on one thread, so that a busy machine slows both alike.

Times are CPU seconds of this process: what is compared is work, neither its spreading over cores nor waiting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

# Read when numpy or torch is loaded: so this module comes first.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"


def compare(one: Callable[[], object], other: Callable[[], object], pairs: int) -> dict[str, float]:
    """Run two ways in turns, who begins by turns, and return the median of their CPU times' ratios, one / other."""
    ones, others = [], []
    for pair in range(pairs):
        order = [(one, ones), (other, others)]
        for run, times in order if pair % 2 == 0 else order[::-1]:
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
    ratios = [mine / its for mine, its in zip(ones, others, strict=True)]
    return {
        "ratio": round(median(ratios), 4),
        "ratio_min": round(min(ratios), 4),
        "ratio_max": round(max(ratios), 4),
        "cpu_s": round(median(others), 3),
        "cpu_s_compared": round(median(ones), 3),
        "pairs": pairs,
    }
