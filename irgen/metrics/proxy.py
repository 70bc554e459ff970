"""An offline feature net taught on real training frames: what no download gives, and what the dataset is about.

The small net of `irgen.miniature.scenenet` learns at once what the frames' own annotations say (recording set, time,
place, how many people), where in the frame a patch was cut, and which distortion was put on a frame. The last two need
no annotation. Its heads are thrown away. It never sees a generated image nor the verifier, so it may judge both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from irgen import files, images, progress, seeds, sources, weights
from irgen.errors import SourceError, StoreError, WeightsError
from irgen.metrics.nets import PROXY_FILE
from irgen.miniature.scenenet import FEATURES, INPUT_PX, SceneNet
from irgen.records import Frame, read_rows

U8 = NDArray[np.uint8]

FRAME_PX = (160, 192)
"""Height and width in which frames are kept: twice the net's input, so that patches are not blurred."""

MOST_FRAMES = 4000
FEWEST_FRAMES = 16
STEPS, BATCH = 160, 24
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.02
CROWD = 3
"""From this many people on, the count is one class."""

GRID = 3
"""Patches are cut at GRID x GRID places."""

DISTORTIONS = ("none", "inverted", "blurred", "noisy", "flat", "saturated")
SELF_MADE = {"patch": GRID**2, "distortion": len(DISTORTIONS)}
"""Tasks that need no annotation, and how many answers they have."""

UNKNOWN = -1


@dataclass(frozen=True)
class Task:
    """A question about a frame with a closed list of answers.

    Attributes:
        name: what is asked.
        answers: int64 [N], 0 .. classes - 1, or -1 where it is not known.
        classes: how many answers there are, at least 2.
    """

    name: str
    answers: NDArray[np.int64]
    classes: int


@dataclass(frozen=True)
class Proxy:
    """A taught net.

    Attributes:
        net: features of unit deviation over the frames it was taught on; in evaluation mode.
        accuracy: of each task, over the last tenth of the training, by name.
    """

    net: SceneNet
    accuracy: dict[str, float]


def annotated(frames: Sequence[Frame]) -> list[Task]:
    """Make the tasks that the frames' annotations allow: those with at least two different answers.

    Raises:
        StoreError: a frame that is not of the train split; a net that saw it could not judge with it.
    """
    strangers = [frame.id for frame in frames if frame.split != "train"]
    if strangers:
        raise StoreError(
            f"{len(strangers)} of {len(frames)} frames for the proxy net are no train frames: {strangers[0]}, ...",
            "Give train frames only.",
        )
    people = [
        str(min(CROWD, sum(box.label in ("person", "cyclist") and not box.ignore for box in frame.boxes)))
        for frame in frames
    ]
    told: dict[str, Sequence[str]] = {
        "set": [frame.set for frame in frames],
        "time": [frame.time for frame in frames],
        "place": [frame.place for frame in frames],
        "people": people,
    }
    return [task for name, words in told.items() if (task := _task(name, words)).classes > 1]


def fit(frames_u8: U8, tasks: Sequence[Task], *, seed: int, steps: int = STEPS) -> Proxy:
    """Teach a net; about 40 CPU-s. On the CPU always, so that equal frames and seed give equal weights.

    Args:
        frames_u8: uint8 [N, 160, 192], LWIR train frames.
        tasks: asked beside those that need no annotation.
        seed: of the initial weights and of what is drawn.
        steps: of the training.

    Raises:
        SourceError: fewer than 16 frames.
    """
    if len(frames_u8) < FEWEST_FRAMES:
        raise SourceError(
            f"{len(frames_u8)} train frames for the proxy net, which needs {FEWEST_FRAMES}", "Give more train frames."
        )
    classes = {**{task.name: task.classes for task in tasks}, **SELF_MADE}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.derive(seed, "proxy", "weights")[:8], 16))
        net = SceneNet()
        heads = nn.ModuleDict({name: nn.Linear(FEATURES, count) for name, count in classes.items()})
    rates = torch.optim.AdamW([*net.parameters(), *heads.parameters()], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(rates, LEARNING_RATE, total_steps=steps)
    hits: dict[str, list[float]] = {name: [] for name in classes}
    with progress.bar("proxy net", steps) as advance:
        for step in range(steps):
            rng = seeds.generator(seed, step, "proxy/step")
            loss, right = _step(net, heads, frames_u8, tasks, rng)
            rates.zero_grad(set_to_none=True)
            loss.backward()
            rates.step()
            schedule.step()
            for name, share in right.items():
                hits[name].append(share)
            advance(1)
    _scale(net, frames_u8)
    last = max(1, steps // 10)
    accuracy = {name: float(np.mean(shares[-last:])) for name, shares in hits.items() if shares}
    return Proxy(net.eval().requires_grad_(False), accuracy)


def train(frames: Path, out: Path, *, seed: int) -> dict[str, Any]:
    """Teach a net on a frames stage's train frames and write it; `proxy:OUT` names it from then on.

    Args:
        frames: the frames stage's output.
        out: folder to write proxy.safetensors into.
        seed: of the choice of frames and the training.

    Returns:
        frames: how many were learnt from; accuracy: of each task, and chance: what guessing gives.

    Raises:
        SourceError: too few LWIR train frames, or one cannot be read.
        StoreError: the frames output is not finished or damaged.
    """
    root = sources.root_of(frames)
    chosen = [frame for frame in read_rows(frames / "frames.parquet", Frame) if frame.split == "train" and frame.lwir]
    if len(chosen) > MOST_FRAMES:
        rows = seeds.generator(seed, "proxy", "frames").choice(len(chosen), MOST_FRAMES, replace=False)
        chosen = [chosen[row] for row in sorted(rows)]
    height_px, width_px = FRAME_PX
    pixels = np.empty((len(chosen), *FRAME_PX), np.uint8)
    with progress.bar("train frames", len(chosen)) as advance:
        for row, frame in enumerate(chosen):
            pixels[row] = images.resize(images.read_gray(root / frame.lwir), width_px, height_px)
            advance(1)
    tasks = annotated(chosen)
    taught = fit(pixels, tasks, seed=seed)
    chance = {task.name: _commonest(task.answers) for task in tasks}
    figures = {
        "frames": len(chosen),
        "accuracy": taught.accuracy,
        "chance": {**chance, **{name: 1 / count for name, count in SELF_MADE.items()}},
    }
    save(taught.net, out, {**figures, "seed": seed})
    return figures


def save(net: SceneNet, folder: Path, facts: dict[str, Any]) -> None:
    """Write the net as `proxy.safetensors`, with the facts of its training in the file's metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.placed(folder / PROXY_FILE) as path:
        save_file(net.state_dict(), path, {"facts": json.dumps(facts, sort_keys=True)})


def load(path: Path) -> SceneNet:
    """Read a net back, frozen and in evaluation mode.

    Raises:
        WeightsError: damaged, or not such a net.
    """
    net = SceneNet()
    try:
        net.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{path}: is not a proxy net ({str(error).splitlines()[0]})", "Train it again: irgen feature-net."
        ) from error
    weights.require_finite(net.state_dict(), path, "Train it again: irgen feature-net.")
    return net.eval().requires_grad_(False)


def _task(name: str, words: Sequence[str]) -> Task:
    known = sorted({word for word in words if word})
    answers = np.array([known.index(word) if word else UNKNOWN for word in words], np.int64)
    return Task(name, answers, len(known))


def _commonest(answers: NDArray[np.int64]) -> float:
    known = answers[answers != UNKNOWN]
    return float(np.bincount(known).max() / len(known))


def _step(
    net: SceneNet, heads: nn.ModuleDict, frames_u8: U8, tasks: Sequence[Task], rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Return the summed loss of one batch of each kind of question, and the share of right answers."""
    rows = rng.integers(len(frames_u8), size=(3, BATCH))
    whole = views(frames_u8[rows[0]], rng.uniform(0.75, 1, BATCH), rng.uniform(-1, 1, (BATCH, 2)), rng)
    places = rng.integers(GRID**2, size=BATCH)
    centres = np.stack([places % GRID, places // GRID], 1) * (2 / (GRID - 1)) - 1
    # A patch that jitters about its place cannot be told by where exactly its edges fall.
    jitter = rng.uniform(-0.15, 0.15, (BATCH, 2))
    patches = views(frames_u8[rows[1]], np.full(BATCH, 0.4), (centres + jitter).clip(-1, 1))
    kinds = rng.integers(len(DISTORTIONS), size=BATCH)
    pictures = views(frames_u8[rows[2]], rng.uniform(0.75, 1, BATCH), rng.uniform(-1, 1, (BATCH, 2)), rng)
    features = net.raw(net.maps(torch.cat([whole, patches, distorted(pictures, kinds, rng)])))
    asked = {task.name: (features[:BATCH], task.answers[rows[0]]) for task in tasks}
    asked |= {"patch": (features[BATCH : 2 * BATCH], places), "distortion": (features[2 * BATCH :], kinds)}
    losses, right = [], {}
    for name, (seen, answers) in asked.items():
        known = torch.from_numpy(answers != UNKNOWN)
        if known.any():
            told, truth = heads[name](seen[known]), torch.from_numpy(answers)[known]
            losses.append(F.cross_entropy(told, truth))
            right[name] = float((told.argmax(1) == truth).float().mean())
    return torch.stack(losses).sum(), right


def views(
    frames_u8: U8, scale: NDArray[np.float64], place: NDArray[np.float64], flips: np.random.Generator | None = None
) -> Tensor:
    """Cut a window of each frame, as the net sees it: float32 [B, 3, 80, 96] in 0..1.

    Args:
        frames_u8: uint8 [B, 160, 192].
        scale: [B], the window's part of the frame's height and width, in (0, 1].
        place: [B, 2], x and y in -1..1: from the left or upper edge to the right or lower one.
        flips: mirrors half of the windows; None mirrors none.
    """
    theta = np.zeros((len(frames_u8), 2, 3), np.float32)
    mirrored = flips.integers(2, size=len(frames_u8)) * 2 - 1 if flips else 1
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirrored, scale
    theta[:, :, 2] = place * (1 - scale)[:, None]
    pixels = torch.from_numpy(frames_u8.astype(np.float32) / 255)[:, None]
    grid = F.affine_grid(torch.from_numpy(theta), [len(frames_u8), 1, *INPUT_PX], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False).expand(-1, 3, -1, -1)


def distorted(pictures: Tensor, kinds: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    """Distort float32 [B, 3, 80, 96] in 0..1, each as `kinds` [B] numbers one of DISTORTIONS."""
    shown = pictures.clone()
    for row, (picture, kind) in enumerate(zip(pictures, kinds, strict=True)):
        strength = float(rng.uniform(0.3, 1))
        name = DISTORTIONS[kind]
        if name == "inverted":
            shown[row] = 1 - picture
        elif name == "blurred":
            size = 3 + 2 * round(2 * strength)
            shown[row] = F.avg_pool2d(picture[None], size, 1, size // 2, count_include_pad=False)[0]
        elif name == "noisy":
            noise = rng.standard_normal(picture.shape[1:], np.float32) * 0.12 * strength
            shown[row] = (picture + torch.from_numpy(noise)).clamp(0, 1)
        elif name == "flat":
            shown[row] = picture.mean() + (picture - picture.mean()) * (1 - 0.8 * strength)
        elif name == "saturated":
            shown[row] = (picture * (1 + 2 * strength)).clamp(max=1)
    return shown


@torch.inference_mode()
def _scale(net: SceneNet, frames_u8: U8) -> None:
    """Give the features zero mean and unit deviation over the frames."""
    net.eval()
    parts = np.array_split(frames_u8, max(1, len(frames_u8) // BATCH))
    seen = torch.cat([net.raw(net.maps(views(part, np.ones(len(part)), np.zeros((len(part), 2))))) for part in parts])
    net.mean.copy_(seen.mean(0))
    net.deviation.copy_(seen.std(0).clamp(min=1e-3))
