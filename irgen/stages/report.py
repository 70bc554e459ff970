"""Stage 09: measure the dataset against real infrared and show it on one page.

Which images stand for what: `real`, the reference of every distance, is the LWIR of captioned test frames; `floor` the
LWIR of train frames; `grayscale` the luma of the visible image of the same test frames (the same scenes, which is
the strongest form of that baseline) and `inverted` its negative; `unguided` the first candidate of each prompt;
`guided` the one kept; `worst` the one with the lowest score; `best_of_N` what a search for N would have kept. All at
equal N, in one mix of day and night, coded alike. Intervals resample whole videos of real frames, and single generated
images.

The page also shows what each stage cost. So, of all outputs, this one alone is not the same bytes after every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irgen.errors import SettingsError
from irgen.metrics import nets
from irgen.settings import ReportSettings

VERSION = 4
VERIFIER_NET = "verifier"


def externals(report: ReportSettings) -> dict[str, str]:
    """Name the feature nets and digest their weights."""
    return {
        "feature_net": nets.resolve(report.feature_net).identity,
        **{f"judge {name}": nets.resolve(name).identity for name in report.judges if name != VERIFIER_NET},
    }


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
    """Write `report.json`, `figures.parquet` and `index.html`; return the figures.

    Raises:
        SourceError: too few real frames.
        SettingsError: two judges are one net, or budgets that this search has not within.
        WeightsError: the feature nets' or the verifier's weights are missing or damaged.
    """
    from irgen.metrics import features
    from irgen.report.build import Inputs, build
    from irgen.report.looking import Judges
    from irgen.verifiers.irscore import IrScore
    from irgen.verifiers.realism import FILE, Realism

    names = [report.feature_net, *(name for name in report.judges if name != VERIFIER_NET)]
    loaded = [features.load(*nets.resolve(name)) for name in names]
    kinds = [net.name for net in loaded]
    if len(set(kinds)) != len(kinds):
        raise SettingsError(
            f"report.feature_net and report.judges name one net twice: {', '.join(kinds)}",
            f"Judges beside it are other nets: {', '.join(nets.NAMES)}.",
        )
    learnt = Realism.load(verifier) if (verifier / FILE).is_file() else None
    judges = Judges(loaded, IrScore.load(verifier), learnt, VERIFIER_NET in report.judges)
    return build(report, Inputs(frames, captions, negatives, verifier, samples, shards), out, judges)
