"""Which of a shard's candidates are kept: those that together look most like real train frames.

A shard is decided by itself, so that lanes, resumed runs and the order of shards change nothing: of each prompt's
better candidates those are taken whose set has the smallest Fréchet distance to all captioned train frames
(`irgen.search.selection`). The features are of a net that no evaluation uses; `proxy` is taught here on the same
frames and lies in the samples' output.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from irgen import images, sources
from irgen.errors import SourceError
from irgen.records import Frame, read_rows
from irgen.settings import SelectionSettings

if TYPE_CHECKING:
    from irgen.metrics.features import FeatureNet
    from irgen.metrics.frechet import F64
    from irgen.search import Found

PROXY = "proxy"
FEWEST_PROMPTS = 2
"""With one prompt there is no set, and its best score stays."""
MOST_FRAMES = 2000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A choice among candidates.

    Attributes:
        net: tells features.
        real: of real train frames, float64 [R, d].
        share: the part of a prompt's finished candidates, best scores first, to choose among.
    """

    net: FeatureNet
    real: F64
    share: float

    def choose(self, found: Sequence[Found]) -> None:
        """Set each prompt's `chosen`; the images of all finished candidates must be there."""
        from irgen.metrics.features import features
        from irgen.search.selection import select

        alive = [one for one in found if one.kept]
        if len(alive) < FEWEST_PROMPTS:
            return
        places = [(row, one.number) for row, each in enumerate(alive) for one in each.alive()]
        pictures = (alive[row].images[number] for row, number in places)
        told = features(pictures, self.net, total=len(places), label="selection")
        most = 1 + max(number for _, number in places)
        stacked = np.full((len(alive), most, told.shape[1]), np.nan)
        scores = np.full((len(alive), most), np.nan)
        for (row, number), feature in zip(places, told, strict=True):
            stacked[row, number] = feature
            scores[row, number] = alive[row].candidates[number].score
        for each, number in zip(alive, select(stacked, scores, self.real, share=self.share).candidate, strict=True):
            each.chosen = int(number)


def identity(selection: SelectionSettings) -> dict[str, str]:
    """Name the content of the net's weights, for fingerprints; what is taught here has none yet."""
    from irgen.metrics import nets

    if selection.net in ("", PROXY):
        return {}
    return {"selection": nets.resolve(selection.net).identity}


def load(selection: SelectionSettings, frames: Path, out: Path) -> Choice:
    """Load the net, and tell what real train frames look like to it.

    Args:
        selection: which net, and the share.
        frames: output of stage frames.
        out: the samples' output, where `proxy` is taught once.

    Raises:
        SourceError: too few train frames with an LWIR image.
        SettingsError, WeightsError: no such net, or not here.
    """
    from irgen.metrics import features, nets, proxy

    name = selection.net
    if name == PROXY:
        if not (out / nets.PROXY_FILE).exists():
            log.info("teaching a feature net on train frames, to select by")
            proxy.train(frames, out, seed=0)
        name = f"{PROXY}:{out}"
    net = features.load(*nets.resolve(name))
    root = sources.root_of(frames)
    train = [one for one in read_rows(frames / "frames.parquet", Frame) if one.split == "train" and one.lwir]
    if len(train) < FEWEST_PROMPTS:
        raise SourceError(
            f"{frames}: {len(train)} train frames with an LWIR image, too few to select by",
            "Give a source with more, or leave samples.selection.net empty.",
        )
    # Evenly over all videos, which lie one after another.
    step = -(-len(train) // MOST_FRAMES)
    chosen = train[::step]
    pictures = (images.read_gray(root / one.lwir) for one in chosen)
    return Choice(net, features.features(pictures, net, total=len(chosen), label="train frames"), selection.share)
