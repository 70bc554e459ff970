"""Teach the feature net several tasks on all modalities at once, then scale its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from irgen.miniature import models, scenes
from irgen.miniature.pretraining import scene_targets
from irgen.miniature.pretraining.corpus import Corpus
from irgen.miniature.pretraining.loop import Losses, Schedule, train
from irgen.miniature.scenenet import FEATURES, WIDTHS, SceneNet

BATCH = 64
MODALITIES = ("visible", "grayscale", "lwir", "inverted")
MAP = (10, 12)
SCALED_ON = 1024
"""So many scenes, in every modality, tell the features' scale."""
SCHEDULE = Schedule(steps=600, lr=2e-3, warmup=100, ema=0.995, weight_decay=0.02)


class Taught(nn.Module):
    """The feature net and the heads of its tasks, which are not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SceneNet()
        self.modality = nn.Linear(FEATURES, len(MODALITIES))
        self.facts = nn.Linear(FEATURES, scene_targets.FACTS)
        self.occupancy = nn.Conv2d(WIDTHS[-1], 4 * len(scene_targets.LABELS), 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return modality logits, facts and occupancy logits [B, 3, 10, 12] of images [B, 3, 80, 96]."""
        maps = self.net.maps(image)
        features = self.net.raw(maps)
        return self.modality(features), self.facts(features), F.pixel_shuffle(self.occupancy(maps), 2)


def fit(corpus: Corpus, work: Path) -> Taught:
    """Train; return the averaged net, its features scaled to unit variance over all modalities."""
    torch.manual_seed(0)
    model = Taught()
    facts = scene_targets.facts(corpus.frames)

    def step(_: int, rng: np.random.Generator) -> Losses:
        chosen = rng.integers(len(corpus), size=BATCH)
        kinds = rng.integers(len(MODALITIES), size=BATCH)
        image = pictures(corpus, chosen, kinds)
        image = (
            image + rng.uniform(0, 0.02) * torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
        ).clamp(0, 1)
        modality, told, maps = model(image)
        covered = scene_targets.occupancy([corpus.frames[k] for k in chosen], *MAP)
        parts = {
            "modality": F.cross_entropy(modality, torch.from_numpy(kinds)),
            "facts": F.smooth_l1_loss(told, facts[chosen]),
            "occupancy": F.binary_cross_entropy_with_logits(maps, covered),
        }
        return {"loss": 0.3 * parts["modality"] + 20 * parts["facts"] + 5 * parts["occupancy"], **parts}

    averaged = train("scenenet", model, step, SCHEDULE, work)
    assert isinstance(averaged, Taught)
    _scale(averaged.net, corpus)
    return averaged.eval()


def pictures(corpus: Corpus, chosen: NDArray[np.int64], kinds: NDArray[np.int64]) -> Tensor:
    """Return float32 [B, 3, 80, 96] in 0..1, each scene in the modality that `kinds` says."""
    shown = []
    for k, kind in zip(chosen, kinds, strict=True):
        if MODALITIES[kind] == "visible":
            shown.append(corpus.visible_u8[k])
            continue
        single = corpus.lwir_u8[k] if MODALITIES[kind] == "lwir" else scenes.grayscale(corpus.visible_u8[k])
        single = 255 - single if MODALITIES[kind] == "inverted" else single
        shown.append(np.repeat(single[..., None], 3, -1))
    return torch.from_numpy(np.stack(shown).astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def accuracy(model: Taught, corpus: Corpus) -> dict[str, float]:
    """Return how often the modality is told, and the correlation of told and true facts, on thermal images."""
    everything, right, told = np.arange(len(corpus)), [], []
    for kind in range(len(MODALITIES)):
        for part in np.array_split(everything, max(1, len(corpus) // 128)):
            modality, facts, _ = model(pictures(corpus, part, np.full(len(part), kind)))
            right.append((modality.argmax(1) == kind).float().mean())
            if MODALITIES[kind] == "lwir":
                told.append(facts)
    stacked = torch.stack([torch.cat(told).ravel(), scene_targets.facts(corpus.frames).ravel()])
    return {"modality": float(torch.stack(right).mean()), "facts_lwir": float(torch.corrcoef(stacked)[0, 1])}


def export(model: Taught, folder: Path) -> None:
    """Write the net, without its heads, in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(models.half(model.net), folder / "scenenet.safetensors")


@torch.no_grad()
def _scale(net: SceneNet, corpus: Corpus) -> None:
    features, some = [], np.arange(min(SCALED_ON, len(corpus)))
    for kind in range(len(MODALITIES)):
        for start in range(0, len(some), 128):
            part = some[start : start + 128]
            features.append(net.raw(net.maps(pictures(corpus, part, np.full(len(part), kind)))))
    stacked = torch.cat(features)
    net.mean.copy_(stacked.mean(0))
    net.deviation.copy_(stacked.std(0))
