"""Which feature net a name means, and where its weights lie; needs no torch, so that planning starts at once.

| name | what it is |
|---|---|
| inception | clean-fid's own Inception-v3, whose FID people compare; never fetched, used only where its weights lie |
| dinov2, dinov2:MODEL | DINOv2 of transformers, from a folder or a hub id in this machine's cache; else ViT-L/14 |
| clip, clip:MODEL | CLIP of transformers, likewise; the verifier's own family, so *not* independent of it |
| scenenet | shipped; taught on the miniature's scenes, its distances compare with nothing published |
| random-conv | shipped; random convolutions: untaught, so that no search could have pleased it |
| proxy:FOLDER | taught tasks of real training frames by `irgen.metrics.proxy` |
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from irgen import digests, miniature
from irgen.errors import SettingsError, WeightsError

AUTO = "auto"
INCEPTION_FILE = "inception-2015-12-05.pt"
PROXY_FILE = "proxy.safetensors"
HUB_DEFAULTS = {"dinov2": "facebook/dinov2-large", "clip": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"}
HUB_FILES = ["*.json", "*.safetensors"]
NAMES = ("inception", "dinov2", "clip", "scenenet", "random-conv", "proxy:FOLDER")
RANDOM_CONV_VERSION = "1"
"""Raised whenever the net that `irgen.metrics.random_conv` makes becomes another."""


class Source(NamedTuple):
    """A feature net and its weights.

    Attributes:
        kind: inception, dinov2, clip, scenenet, random-conv or proxy.
        weights: file or folder; None where the net is made by arithmetic.
    """

    kind: str
    weights: Path | None

    @property
    def independent(self) -> bool:
        """Whether it is of another family than the verifier, and so may judge what the verifier chose."""
        return self.kind != "clip"

    @property
    def digest(self) -> str:
        """Name the weights by their content."""
        return RANDOM_CONV_VERSION if self.weights is None else digests.digest(self.weights)

    @property
    def identity(self) -> str:
        """Kind and digest, for fingerprints."""
        return f"{self.kind} {self.digest}"


def inception_path() -> Path:
    """Return where clean-fid keeps its Inception weights (cleanfid.features.feature_extractor)."""
    return Path("./" if platform.system() == "Windows" else "/tmp") / INCEPTION_FILE


def scenenet_path() -> Path:
    """Return where the shipped net's weights lie."""
    return Path(miniature.__file__).parent / "weights" / "scenenet" / "scenenet.safetensors"


def resolve(name: str) -> Source:
    """Say which net a name means here, and its weights: `auto` is inception where these lie, else scenenet.

    Raises:
        SettingsError: no such net.
        WeightsError: the weights of the net that is wanted are not there.
    """
    kind, _, model = name.partition(":")
    if kind in HUB_DEFAULTS and name != f"{kind}:":
        return Source(kind, _transformers_folder(name, model or HUB_DEFAULTS[kind]))
    if kind == "proxy" and model:
        return Source(kind, _proxy_file(Path(model).expanduser()))
    if name == "random-conv":
        return Source(name, None)
    if name == "scenenet" or (name == AUTO and not inception_path().is_file()):
        return Source("scenenet", _shipped())
    if name in ("inception", AUTO):
        return Source("inception", _inception())
    raise SettingsError(f"feature_net = {name!r}: there is no such net", f"There are: {AUTO}, {', '.join(NAMES)}.")


def _inception() -> Path:
    path = inception_path()
    if not path.is_file():
        raise WeightsError(
            f"feature_net = inception, but {path} is not there",
            f"Put clean-fid's {INCEPTION_FILE} there (irgen never downloads it), or set report.feature_net to auto.",
        )
    return path


def _shipped() -> Path:
    path = scenenet_path()
    if not path.is_file():
        raise WeightsError(f"{path} is not there, though irgen comes with it", "Install irgen again.")
    return path


def _proxy_file(folder: Path) -> Path:
    path = folder / PROXY_FILE
    if not path.is_file():
        raise WeightsError(
            f"feature_net = proxy:{folder}, but {path} is not there",
            f"Train it on a frames stage's output: irgen feature-net FRAMES {folder}",
        )
    return path


def _transformers_folder(name: str, model: str) -> Path:
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise WeightsError(f"feature_net = {name}: {folder} has no config.json", "Give a folder of transformers.")
        return folder
    try:
        return Path(huggingface_hub.snapshot_download(model, allow_patterns=HUB_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError) as error:
        raise WeightsError(
            f"feature_net = {name}: {model} is neither a folder nor in the cache of this machine",
            f"Where there is a network: `hf download {model} --include '*.json' '*.safetensors'`; copy its cache here "
            "and set HF_HOME to it, or give the folder.",
        ) from error
