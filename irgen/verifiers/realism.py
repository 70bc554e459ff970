"""Realism: how far an image's pixel statistics are from those of real LWIR frames. No network, hence no CLIP to fool.

Each of seven aspects (`irgen.verifiers.lwir_statistics`) is compared with real training frames by the mean distance
to the nearest five of them, so that day and night are each their own kind of real. How far is too far is known from
the real frames themselves, each compared with those of *other* videos. Up to there the score is nearly flat: an image
gains nothing by being more average than real frames are, which would cost diversity.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from irgen import files, progress
from irgen import images as image_files
from irgen.errors import StoreError, WeightsError
from irgen.metrics.frechet import F64
from irgen.records import Caption, Frame
from irgen.search.interface import Scores
from irgen.verifiers import lwir_statistics as statistics
from irgen.verifiers.batches import check_pairs

FILE = "realism.safetensors"
NEAREST = 5
LEAST_FRAMES = 16
USUAL = 0.9
"""Share of real frames that are no farther from the others than what counts as usual."""
SHARPNESS = 4.0
"""How sharply the score bends at the end of the usual."""
SHRINKAGE = 0.05
"""Of correlations: few frames tell little of 36 x 36 of them."""
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, as `images.read_gray`."""

ASPECTS: dict[str, Callable[[F64], F64]] = {
    "natural_scene": statistics.natural_scene,
    "histogram": statistics.histogram,
    "spectrum": statistics.spectrum,
    "noise": statistics.noise,
    "pattern": statistics.pattern,
    "edges": statistics.edges,
    "bodies": statistics.bodies,
}
IN_GREY_LEVELS = "histogram"
"""The aspect that is not whitened: its distance then is Wasserstein's, in grey levels."""


@dataclass(frozen=True)
class Aspect:
    """What real frames are like in one aspect.

    Attributes:
        mean: float64 [d], of the frames' vectors.
        whitening: float64 [d, d], to unit variance without correlation.
        frames: float64 [N, d], the whitened vectors.
        middle, usual: median and 90 % quantile of real frames' distance to those of other videos.
    """

    mean: F64
    whitening: F64
    frames: F64
    middle: float
    usual: float

    @classmethod
    def fit(cls, vectors: F64, videos: Sequence[str], in_grey_levels: bool) -> Aspect:
        """Learn from vectors [N, d] of real frames and their videos."""
        mean = vectors.mean(axis=0)
        whitening = np.eye(vectors.shape[1]) if in_grey_levels else _whitening(vectors - mean)
        frames = (vectors - mean) @ whitening
        names = np.array(videos)
        foreign = names[:, None] != names
        if not foreign.any(axis=1).all():
            # One video alone: then at least not with itself.
            foreign = ~np.eye(len(frames), dtype=bool)
        distances = [_to_nearest(frame, frames[others]) for frame, others in zip(frames, foreign, strict=True)]
        middle, usual = np.quantile(distances, [0.5, USUAL])
        return cls(mean, whitening, frames, float(middle), float(max(usual, middle + 1e-9)))

    def score(self, vector: F64) -> float:
        """Return about 0 for what is usual, and less the farther it is, in logarithms: no aspect drowns the others."""
        distance = _to_nearest((vector - self.mean) @ self.whitening, self.frames)
        beyond = (distance - self.middle) / (self.usual - self.middle) - 1
        return -float(np.log1p(np.logaddexp(0, SHARPNESS * beyond) / SHARPNESS))


class Realism:
    """Scores the mean of the aspects' scores; larger is more real, 0 is not reached.

    Attributes:
        width_px, height_px: of the frames that it was fitted on; other images are resized to it, which blurs what is
            compared: generate at the frames' size where realism shall judge.
        aspects: by name.
    """

    def __init__(self, width_px: int, height_px: int, aspects: dict[str, Aspect]) -> None:
        self.width_px = width_px
        self.height_px = height_px
        self.aspects = aspects

    @classmethod
    def fit(cls, frames: Iterable[np.ndarray], videos: Sequence[str], width_px: int, height_px: int) -> Realism:
        """Learn from real training frames.

        Args:
            frames: uint8 [H, W] each.
            videos: each frame's recording group; neighbours in a video are nearly equal.
            width_px: frames are resized to it.
            height_px: frames are resized to it.

        Raises:
            StoreError: fewer than 16 frames.
        """
        resized = (image_files.resize(frame, width_px, height_px) for frame in frames)
        rows = [{name: measure(grey / 255) for name, measure in ASPECTS.items()} for grey in resized]
        if len(rows) < LEAST_FRAMES:
            raise StoreError(
                f"realism: {len(rows)} real training frames, but it needs {LEAST_FRAMES} to learn from",
                "Raise captions.train_frames, or give a source with more frames.",
            )
        aspects = {
            name: Aspect.fit(np.stack([row[name] for row in rows]), videos, name == IN_GREY_LEVELS) for name in ASPECTS
        }
        return cls(width_px, height_px, aspects)

    def score(self, images: np.ndarray, captions: Sequence[str]) -> Scores:
        """Score uint8 [B, H, W, 3]; captions are not read. Parts are the aspects, `realism_<name>`."""
        check_pairs(images, captions)
        rows = [self._scores(image) for image in images]
        parts = {f"realism_{name}": np.array([row[name] for row in rows]) for name in self.aspects}
        return Scores(np.mean(list(parts.values()), axis=0), parts)

    def _scores(self, image_u8: np.ndarray) -> dict[str, float]:
        # Rounded to grey levels before it is resized, as frames are.
        luma = np.round(image_u8 @ LUMA).astype(np.uint8)
        grey = image_files.resize(luma, self.width_px, self.height_px) / 255
        return {name: aspect.score(ASPECTS[name](grey)) for name, aspect in self.aspects.items()}

    def save(self, folder: Path) -> None:
        """Write what was learnt as `realism.safetensors`."""
        arrays = {
            f"{name}.{part}": np.ascontiguousarray(getattr(aspect, part))
            for name, aspect in self.aspects.items()
            for part in ("mean", "whitening", "frames")
        }
        limits = {name: [aspect.middle, aspect.usual] for name, aspect in self.aspects.items()}
        document = {"width_px": self.width_px, "height_px": self.height_px, "limits": limits}
        with files.placed(folder / FILE) as temporary:
            save_file(arrays, temporary, {"realism": json.dumps(document, sort_keys=True)})

    @classmethod
    def load(cls, folder: Path) -> Realism:
        """Load what `save` wrote.

        Raises:
            WeightsError: missing, damaged, or of another version's aspects.
        """
        try:
            with safe_open(folder / FILE, "numpy") as stored:
                document = json.loads(stored.metadata()["realism"])
                aspects = {
                    name: Aspect(
                        *(stored.get_tensor(f"{name}.{part}") for part in ("mean", "whitening", "frames")),
                        *document["limits"][name],
                    )
                    for name in ASPECTS
                }
            return cls(document["width_px"], document["height_px"], aspects)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{folder / FILE}: missing or damaged ({error})",
                f"Run the verifier stage again, with at least {LEAST_FRAMES} captioned training frames.",
            ) from error


def learn(frames: Sequence[Frame], captions: Sequence[Caption], raw: Path) -> Realism | None:
    """Fit on the captioned training frames, at the size that most of them have; None where they are fewer than 16.

    Args:
        frames: of all splits.
        captions: of all splits.
        raw: folder that the frames' paths are relative to.

    Raises:
        SourceError: an image cannot be read.
    """
    captioned = {caption.frame_id for caption in captions if caption.split == "train"}
    chosen = [frame for frame in frames if frame.id in captioned and frame.split == "train"]
    if len(chosen) < LEAST_FRAMES:
        return None
    (width_px, height_px), _ = Counter((frame.width_px, frame.height_px) for frame in chosen).most_common(1)[0]
    with progress.bar("realism of train LWIR", len(chosen)) as advance:

        def read() -> Iterator[np.ndarray]:
            for frame in chosen:
                yield image_files.read_gray(raw / frame.lwir)
                advance(1)

        return Realism.fit(read(), [frame.video for frame in chosen], width_px, height_px)


def _whitening(deviations: F64) -> F64:
    """Return W with (x W) of unit variance and no correlation, for deviations x [N, d], correlations being shrunk."""
    sd = deviations.std(axis=0).clip(min=1e-6)
    correlations = (deviations / sd).T @ (deviations / sd) / len(deviations)
    values, vectors = np.linalg.eigh((1 - SHRINKAGE) * correlations + SHRINKAGE * np.eye(len(sd)))
    return (vectors / np.sqrt(values)) / sd[:, None]


def _to_nearest(vector: F64, frames: F64) -> float:
    """Return the mean distance to the nearest frames, a root mean square over dimensions."""
    distances = np.sqrt(((frames - vector) ** 2).mean(axis=1))
    return float(np.sort(distances)[:NEAREST].mean())
