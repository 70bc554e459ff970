"""How far people stand out, with intervals over what was drawn together."""

import numpy as np

from irgen.report import labelled


def test_frames_of_a_video_are_resampled_together() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(20, 5, 16)
    values = [(f"v{video}", float(mean + noise)) for video, mean in enumerate(means) for noise in rng.normal(0, 1, 60)]
    whole = labelled._row("real", "day", values, 400, 0)
    single = labelled._row("real", "day", [(str(row), value) for row, (_, value) in enumerate(values)], 400, 0)
    assert whole["value"] == single["value"] and whole["count"] == 960
    # Of 16 independent means, and not of 960.
    width = 2 * 1.96 * means.std(ddof=1) / 4
    assert 0.8 * width < whole["high"] - whole["low"] < 1.2 * width
    assert single["high"] - single["low"] < 0.3 * width
