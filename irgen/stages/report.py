"""Stage 09: measure the dataset against real infrared and show it on one page.

Which images stand for what: `real`, the reference of every distance, is the LWIR of captioned test frames; `floor` the
LWIR of train frames; `grayscale` the luma of the visible image of the same test frames (the same scenes, which is
the strongest form of that baseline); `unguided` the first candidate of each prompt; `guided` the one kept; `worst` the
one with the lowest score. All at equal N. Intervals resample whole videos on the real side, images on the other.

The page also shows what each stage cost. So, of all outputs, this one alone is not the same bytes after every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irgen.metrics import nets
from irgen.settings import ReportSettings

VERSION = 1


def externals(report: ReportSettings) -> dict[str, str]:
    """Name the feature net and digest its weights."""
    return {"feature_net": nets.resolve(report.feature_net).identity}


def run(
    report: ReportSettings,
    frames: Path,
    captions: Path,
    negatives: Path,
    verifier: Path,
    samples: Path,
    shards: Path,
    out: Path,
) -> dict[str, Any]:
    """Write `report.json` and `index.html`; return the figures.

    Raises:
        SourceError: too few real frames.
        WeightsError: the feature net's or the verifier's weights are missing or damaged.
    """
    from irgen.metrics import features
    from irgen.report.build import Inputs, build
    from irgen.verifiers.irscore import IrScore

    net = features.load(*nets.resolve(report.feature_net))
    inputs = Inputs(frames, captions, negatives, verifier, samples, shards)
    return build(report, inputs, out, net, IrScore.load(verifier))
