"""Images to feature vectors, by a named feature net, with clean-fid's resizing (Parmar et al., arXiv 2104.11222)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torchvision.transforms import Normalize
from transformers import CLIPVisionModelWithProjection, Dinov2Model

from irgen import progress
from irgen.devices import device
from irgen.errors import WeightsError
from irgen.metrics import proxy, random_conv
from irgen.metrics.frechet import F64, checked
from irgen.metrics.nets import Source
from irgen.miniature import scenenet

U8 = NDArray[np.uint8]

INCEPTION_SIZE_PX = (299, 299)
INCEPTION_FEATURES = 2048
TRANSFORMER_SIZE_PX = (224, 224)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 32


@dataclass(frozen=True)
class FeatureNet:
    """A network that turns images into feature vectors.

    Attributes:
        name: as reports state it.
        size_px: width and height of its input; every image is resized to it, whatever its own size.
        forward: float32 [B, 3, height, width] in 0..255 to [B, d].
        dimensions: d; 0 where only a forward tells.
        digest: names its weights by their content; "" where it has none.
        independent: whether it is of another family than the verifier, and so may judge what the verifier chose.
    """

    name: str
    size_px: tuple[int, int]
    forward: Callable[[torch.Tensor], torch.Tensor]
    dimensions: int = 0
    digest: str = ""
    independent: bool = True


def load(kind: str, weights: Path | None) -> FeatureNet:
    """Load a feature net, as `nets.resolve` names it, onto the device.

    Raises:
        WeightsError: its weights are damaged, or of another architecture.
    """
    source = Source(kind, weights)
    net = _LOADERS[kind](weights) if weights else _random_conv()
    return replace(net, digest=source.digest, independent=source.independent)


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
    rows: list[F64] = []
    with progress.bar(label, total) as advance:
        for chunk in _chunks(images, batch):
            rows.append(forward(net, chunk, batch))
            advance(len(chunk))
    return checked(np.concatenate(rows)) if rows else np.zeros((0, 0))


@torch.inference_mode()
def forward(net: FeatureNet, images: Sequence[U8], batch: int = BATCH) -> F64:
    """Return the features of at most `batch` images, float64 [B, d], by one forward of the fixed, padded shape."""
    width_px, height_px = net.size_px
    padded = np.zeros((batch, height_px, width_px, 3), np.float32)
    for row, image in enumerate(images):
        padded[row] = resized(three_channels(image), net.size_px)
    tensor = torch.from_numpy(padded).permute(0, 3, 1, 2).to(device())
    found: F64 = net.forward(tensor)[: len(images)].double().cpu().numpy()
    return found


def resized(image: U8, size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Resize uint8 [H, W, 3] to float32 [height, width, 3] in 0..255 as clean-fid does: bicubic, antialiased, in float.

    Infrared images have three equal channels: one is resized for all.
    """
    first = image[..., 0]
    if (first == image[..., 1]).all() and (first == image[..., 2]).all():
        gray = Image.fromarray(first.astype(np.float32)).resize(size_px, Image.Resampling.BICUBIC)
        return np.broadcast_to(np.asarray(gray).clip(0, 255)[..., None], (size_px[1], size_px[0], 3))
    found: NDArray[np.float32] = make_resizer("PIL", False, "bicubic", size_px)(image)
    return found


def three_channels(image: U8) -> U8:
    """Return an image [H, W], [H, W, 1] or [H, W, 3] as [H, W, 3].

    Raises:
        ValueError: another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise ValueError(f"an image must be uint8 [H, W] or [H, W, 3], not {image.dtype} {list(image.shape)}")
    planes = image if image.ndim == 3 else image[..., None]
    return np.broadcast_to(planes, (*planes.shape[:2], 3))


def _inception(weights: Path) -> FeatureNet:
    try:
        net = InceptionV3W(str(weights.parent), download=False, resize_inside=False).to(device()).eval()
    except (RuntimeError, ValueError, OSError, AttributeError) as error:
        raise WeightsError(
            f"{weights}: is not the Inception that clean-fid uses ({str(error).splitlines()[0]})",
            "Remove the file and put clean-fid's own there, or set report.feature_net to scenenet.",
        ) from error
    return FeatureNet("inception", INCEPTION_SIZE_PX, net, INCEPTION_FEATURES)


def _scenenet(weights: Path) -> FeatureNet:
    return _scene_net("scenenet", scenenet.load())


def _proxy(weights: Path) -> FeatureNet:
    return _scene_net("proxy", proxy.load(weights))


def _scene_net(name: str, loaded: scenenet.SceneNet) -> FeatureNet:
    height_px, width_px = scenenet.INPUT_PX
    net = loaded.to(device()).eval()
    return FeatureNet(name, (width_px, height_px), lambda batch: net(batch / 255), scenenet.FEATURES)


def _random_conv() -> FeatureNet:
    net = random_conv.RandomConv().to(device()).eval()
    return FeatureNet("random-conv", random_conv.SIZE_PX, lambda batch: net(batch / 255), random_conv.FEATURES)


def _dinov2(weights: Path) -> FeatureNet:
    """The class token after the last norm, of ImageNet-normalised images (Stein et al., arXiv 2306.04675)."""
    net = _pretrained(Dinov2Model, weights)
    normalise = Normalize(IMAGENET_MEAN, IMAGENET_DEVIATION)

    def forward(batch: torch.Tensor) -> torch.Tensor:
        return net(pixel_values=normalise(batch / 255)).pooler_output

    return FeatureNet("dinov2", TRANSFORMER_SIZE_PX, forward, net.config.hidden_size)


def _clip(weights: Path) -> FeatureNet:
    """The projected image embedding, as clean-fid's CLIP mode takes it."""
    net = _pretrained(CLIPVisionModelWithProjection, weights)
    normalise = Normalize(CLIP_MEAN, CLIP_DEVIATION)
    size_px = net.config.image_size

    def forward(batch: torch.Tensor) -> torch.Tensor:
        return net(pixel_values=normalise(batch / 255)).image_embeds

    return FeatureNet("clip", (size_px, size_px), forward, net.config.projection_dim)


def _pretrained(kind: Any, weights: Path) -> Any:
    try:
        net, found = kind.from_pretrained(
            str(weights), use_safetensors=True, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{weights}: cannot be loaded as {kind.__name__} ({reason})", _WHOLE) from error
    if found["missing_keys"]:
        # transformers fills what is missing with random numbers, and only warns.
        first = sorted(found["missing_keys"])[0]
        raise WeightsError(f"{weights}: lacks weights of {kind.__name__}, {first} for one", _WHOLE)
    return net.to(device()).eval()


_WHOLE = "Give a folder in the transformers format with safetensors weights of that architecture."

_LOADERS: dict[str, Callable[[Path], FeatureNet]] = {
    "inception": _inception,
    "dinov2": _dinov2,
    "clip": _clip,
    "scenenet": _scenenet,
    "proxy": _proxy,
}


def _chunks(images: Iterable[U8], size: int) -> Iterator[list[U8]]:
    waiting = iter(images)
    while chunk := list(islice(waiting, size)):
        yield chunk
