"""Which feature net a setting means, and where its weights lie; needs no torch, so that planning starts at once.

`inception` is clean-fid's own Inception-v3 and gives the FID that people compare; it is used only where its weights
lie, never fetched. `scenenet` comes with irgen and needs no download; its distances compare with nobody else's.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from irgen import miniature
from irgen.errors import WeightsError

Name = Literal["inception", "scenenet"]

INCEPTION_FILE = "inception-2015-12-05.pt"


def inception_path() -> Path:
    """Return where clean-fid keeps its Inception weights (cleanfid.features.feature_extractor)."""
    return Path("./" if platform.system() == "Windows" else "/tmp") / INCEPTION_FILE


def scenenet_path() -> Path:
    """Return where the shipped net's weights lie."""
    return Path(miniature.__file__).parent / "weights" / "scenenet" / "scenenet.safetensors"


def resolve(name: Literal["auto", "inception", "scenenet"]) -> tuple[Name, Path]:
    """Say which net a setting means here, and its weights: `auto` is inception where these lie, else scenenet.

    Raises:
        WeightsError: the weights of the net that is wanted are not there.
    """
    if name != "scenenet" and inception_path().is_file():
        return "inception", inception_path()
    if name == "inception":
        raise WeightsError(
            f"report.feature_net = inception, but {inception_path()} is not there",
            f"Put clean-fid's {INCEPTION_FILE} there (irgen never downloads it), or set report.feature_net to auto.",
        )
    if not scenenet_path().is_file():
        raise WeightsError(f"{scenenet_path()} is not there, though irgen comes with it", "Install irgen again.")
    return "scenenet", scenenet_path()
