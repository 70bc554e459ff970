"""Images to feature vectors, by a named feature net, with clean-fid's resizing (Parmar et al., arXiv 2104.11222)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from numpy.typing import NDArray

from irgen import progress
from irgen.devices import device
from irgen.errors import WeightsError
from irgen.metrics.frechet import F64, checked
from irgen.metrics.nets import Name
from irgen.miniature import scenenet

U8 = NDArray[np.uint8]

INCEPTION_SIZE_PX = (299, 299)
BATCH = 32


@dataclass(frozen=True)
class FeatureNet:
    """A network that turns images into feature vectors.

    Attributes:
        name: as reports state it.
        size_px: width and height of its input; every image is resized to it, whatever its own size.
        forward: float32 [B, 3, height, width] in 0..255 to [B, d].
    """

    name: str
    size_px: tuple[int, int]
    forward: Callable[[torch.Tensor], torch.Tensor]


def load(name: Name, weights: Path) -> FeatureNet:
    """Load a feature net, as `nets.resolve` names it, onto the device.

    Raises:
        WeightsError: its weights are damaged.
    """
    if name == "scenenet":
        return _scenenet()
    try:
        net = InceptionV3W(str(weights.parent), download=False, resize_inside=False).to(device()).eval()
    except (RuntimeError, ValueError, OSError, AttributeError) as error:
        raise WeightsError(
            f"{weights}: is not the Inception that clean-fid uses ({str(error).splitlines()[0]})",
            "Remove the file and put clean-fid's own there, or set report.feature_net to scenenet.",
        ) from error
    return FeatureNet("inception", INCEPTION_SIZE_PX, net)


def features(images: Iterable[U8], net: FeatureNet, *, total: int, label: str = "features", batch: int = BATCH) -> F64:
    """Return the features of images, float64 [N, d], in their order.

    Every forward has the same, padded batch shape, so that an image's features do not depend on its neighbours.

    Args:
        images: uint8 [height, width, 3] of any sizes; gray ones [height, width] get three equal channels.
        net: the feature net.
        total: how many images will come, for the progress bar.
        label: what the progress bar calls them.
        batch: images a forward.

    Raises:
        IrgenError: a feature is not finite.
    """
    resize = make_resizer("PIL", False, "bicubic", net.size_px)
    rows: list[F64] = []
    with progress.bar(label, total) as advance, torch.inference_mode():
        for chunk in _chunks((resize(three_channels(image)) for image in images), batch):
            padded = np.zeros((batch, *chunk[0].shape), np.float32)
            padded[: len(chunk)] = chunk
            tensor = torch.from_numpy(padded).permute(0, 3, 1, 2).to(device())
            rows.append(net.forward(tensor)[: len(chunk)].double().cpu().numpy())
            advance(len(chunk))
    return checked(np.concatenate(rows)) if rows else np.zeros((0, 0))


def three_channels(image: U8) -> U8:
    """Return an image [H, W], [H, W, 1] or [H, W, 3] as [H, W, 3].

    Raises:
        ValueError: another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise ValueError(f"an image must be uint8 [H, W] or [H, W, 3], not {image.dtype} {list(image.shape)}")
    planes = image if image.ndim == 3 else image[..., None]
    return np.broadcast_to(planes, (*planes.shape[:2], 3))


def _scenenet() -> FeatureNet:
    height_px, width_px = scenenet.INPUT_PX
    net = scenenet.load().to(device()).eval()
    return FeatureNet("scenenet", (width_px, height_px), lambda batch: net(batch / 255))


def _chunks(images: Iterator[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    while chunk := list(islice(images, size)):
        yield chunk
