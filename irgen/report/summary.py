"""The few figures of a whole dataset that `summary.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from irgen import store

if TYPE_CHECKING:
    from irgen.pipeline import Outcome

SETS = {"fid": ("floor", "grayscale", "unguided", "guided"), "irscore": ("real", "grayscale", "unguided", "guided")}


def summary(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Sum up a dataset from its stages' outcomes, `shards` and `report` among them.

    Returns:
        dataset: path of the finished shards; fid, irscore: by set, None where a source has no grayscale;
        verifier_auc: by kind of negative, and `match`; nfe_per_image; images: kept; n and feature_net: of the
        distances; labels: mode, boxes, ignored, and their mean agreement with the captions; seconds: by stage, what
        making its output took, however often it was reused since.
    """
    figures = outcomes["report"].figures
    labels = outcomes["shards"].figures["labels"]
    return {
        "dataset": outcomes["shards"].ref.path,
        **{group: {name: figures[group][name] for name in names} for group, names in SETS.items()},
        "labels": {name: labels[name] for name in ("mode", "boxes", "ignored", "agreement")},
        **{name: figures[name] for name in ("verifier_auc", "nfe_per_image", "images", "n", "feature_net")},
        "seconds": {stage: _seconds(outcome) for stage, outcome in outcomes.items()},
    }


def _seconds(outcome: Outcome) -> float:
    return float(store.read_cost(outcome.ref.folder).get("seconds", outcome.seconds))
