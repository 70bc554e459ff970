"""Detectors that are trained from nothing on gray images with boxes.

`train(images_u8, boxes, settings)` gives a `Detector`; it detects and saves itself, and `load` brings it back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from irgen import devices, files, progress, seeds, weights
from irgen.errors import SettingsError, WeightsError
from irgen.labels import learning
from irgen.labels.learning import Ending, Learner
from irgen.records import Box, LabelledBox
from irgen.settings import DetectorSettings

CONFIG, WEIGHTS = "config.json", "model.safetensors"
IMAGES_PER_FORWARD = 16
SOURCE = "teacher"
LUMA = np.array([0.299, 0.587, 0.114])


class Network(Learner, Protocol):
    """A network that learns and finds: of torchvision or of transformers."""

    def found(self, pixels: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Find objects in float32 [B, H, W] in 0..1: corners [n, 4] px, class numbers [n] and scores [n] of each."""
        ...


class Detector:
    """A trained detector.

    Attributes:
        classes: names, in the order of their numbers.
        settings: that it was trained with.
        size_px: height and width of the images.
    """

    def __init__(
        self, network: Network, classes: Sequence[str], settings: DetectorSettings, height_px: int, width_px: int
    ) -> None:
        self.classes = tuple(classes)
        self.settings = settings
        self._network = network
        self.size_px = (height_px, width_px)

    def detect(self, images: np.ndarray) -> list[list[LabelledBox]]:
        """Find objects, each with its raw score; what is found in one image does not depend on the others.

        Args:
            images: uint8 [B, H, W], or [B, H, W, 3], of which the luma is taken; any B.

        Returns:
            Boxes of each image, surest first, within the image; source "teacher".

        Raises:
            ValueError: images of another shape or size than it was trained on.
        """
        gray = to_gray(images)
        if gray.shape[1:] != self.size_px:
            raise ValueError(f"images of {gray.shape[1:]} px, the detector was trained on {self.size_px}")
        found: list[list[LabelledBox]] = []
        for start in range(0, len(gray), IMAGES_PER_FORWARD):
            batch = gray[start : start + IMAGES_PER_FORWARD]
            fill = np.repeat(batch[-1:], IMAGES_PER_FORWARD - len(batch), axis=0)
            pixels = torch.from_numpy(np.concatenate([batch, fill])).to(devices.device()).float() / 255
            with torch.inference_mode():
                rows = self._network.found(pixels)
            found += [self._labelled(*row) for row in rows[: len(batch)]]
        return found

    def _labelled(self, corner_px: np.ndarray, numbers: np.ndarray, scores: np.ndarray) -> list[LabelledBox]:
        height, width = self.size_px
        corner_px = corner_px.clip(0, [width, height, width, height])
        boxes = []
        for row in np.argsort(-scores, kind="stable"):
            x0, y0, x1, y1 = (float(edge) for edge in corner_px[row])
            if x1 > x0 and y1 > y0 and np.isfinite(scores[row]):
                name, score = self.classes[numbers[row]], float(scores[row])
                boxes.append(LabelledBox(name, x0, y0, x1 - x0, y1 - y0, score, SOURCE, 0.0, False))
        return boxes

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, and what is needed to build the network again."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: one.detach().cpu().contiguous() for name, one in self._network.network.state_dict().items()}
        with files.placed(folder / WEIGHTS) as temporary:
            save_file(state, temporary)
        document = {
            "classes": list(self.classes),
            "size_px": list(self.size_px),
            "settings": self.settings.model_dump(mode="json"),
        }
        files.write_json(folder / CONFIG, document)


def train(
    images: np.ndarray,
    boxes: Sequence[Sequence[Box | LabelledBox]],
    settings: DetectorSettings,
    *,
    classes: Sequence[str] = (),
    description: str = "detector",
    bar: progress.Bar = progress.bar,
    ending: Ending | None = None,
) -> Detector:
    """Train a detector from nothing; equal arguments give equal weights on a CPU.

    Args:
        images: uint8 [N, H, W].
        boxes: of each image, none for an image of background; what lies in an ignore box is not learnt.
        settings: architecture and training.
        classes: names to learn; none: all that boxes to be learnt have, sorted.
        description: of the progress bar.
        bar: shows how many steps are done.
        ending: on which images it ends; none: on all of them.

    Raises:
        SettingsError: nothing to learn, a class that is not to be learnt, or a box of no use (its image and number).
        WeightsError: the loss was not finite.
    """
    plain = [[_plain(box) for box in own] for own in boxes]
    names = list(classes) or sorted({box.label for own in plain for box in own if not box.ignore})
    _check(images, plain, names)
    height, width = images.shape[1:]
    state = torch.random.get_rng_state()
    try:
        # torchvision draws weights and regions from torch's own generator.
        torch.manual_seed(int(seeds.derive(settings.seed, "detector", "torch")[:8], 16))
        network = _build(settings, len(names), height, width)
        learning.learn(network, images, plain, names, settings, description, bar, ending)
    finally:
        torch.random.set_rng_state(state)
    return Detector(network, names, settings, height, width)


def load(folder: Path) -> Detector:
    """Load what `Detector.save` wrote.

    Raises:
        WeightsError: missing, damaged, or of another architecture.
    """
    try:
        document = json.loads((folder / CONFIG).read_bytes())
        settings = DetectorSettings.model_validate(document["settings"])
        height, width = document["size_px"]
        network = _build(settings, len(document["classes"]), height, width)
        network.network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{folder}: not a detector of irgen, or damaged ({reason})", "Train it again.") from error
    weights.require_finite(network.network.state_dict(), folder / WEIGHTS, "Train it again.")
    network.network.eval()
    return Detector(network, document["classes"], settings, height, width)


def to_gray(images: np.ndarray) -> np.ndarray:
    """Turn uint8 [B, H, W] or [B, H, W, 3] into uint8 [B, H, W]: ITU-R BT.601 luma of colour images.

    Raises:
        ValueError: another shape or type.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] != 3):
        raise ValueError(f"images must be uint8 [B, H, W] or [B, H, W, 3], not {images.dtype} {list(images.shape)}")
    return images if images.ndim == 3 else np.rint(images @ LUMA).astype(np.uint8)


def _build(settings: DetectorSettings, classes: int, height_px: int, width_px: int) -> Network:
    network: Network
    if settings.architecture == "rt_detr":
        from irgen.labels.transformer import Transformer

        network = Transformer(settings, classes, height_px, width_px)
    else:
        from irgen.labels.convolutional import Convolutional

        network = Convolutional(settings, classes, height_px, width_px)
    network.network.to(devices.device())
    return network


def _plain(box: Box | LabelledBox) -> Box:
    return Box(box.label, box.x_px, box.y_px, box.w_px, box.h_px, ignore=box.ignore)


def _check(images: np.ndarray, boxes: Sequence[Sequence[Box]], names: Sequence[str]) -> None:
    if images.ndim != 3 or images.dtype != np.uint8 or len(images) != len(boxes):
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, boxes of {len(boxes)} images")
    if not names or not len(images):
        raise SettingsError("a detector needs boxes to learn", "Give images with boxes that are not to be ignored.")
    height, width = images.shape[1:]
    for number, own in enumerate(boxes):
        for box in own:
            if not box.ignore and box.label not in names:
                raise SettingsError(f"image {number}: class {box.label!r} is not to be learnt", f"{', '.join(names)}.")
            inside = box.x_px < width and box.y_px < height and box.x_px + box.w_px > 0 and box.y_px + box.h_px > 0
            if not (box.w_px > 0 and box.h_px > 0 and inside):
                where = f"x {box.x_px:g}, y {box.y_px:g}, w {box.w_px:g}, h {box.h_px:g}"
                raise SettingsError(f"image {number}: {box.label} at {where} covers nothing of {width}x{height}")
