"""Teach the flow who stands where: its text encoders from captions, its image tokens from what they hold.

A small flow learns roads and skies from pixels alone, people hardly: they are few tokens and the captions' words about
them change little of the loss. Both get a second, direct target here, a map of the boxes. That image tokens learn a
flow faster when they must also tell what they show is the finding of REPA (Yu et al., arXiv 2410.06940, section 3);
the drawn scenes know it without a pretrained encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irgen.miniature.models import T5_WIDTH
from irgen.miniature.pretraining.corpus import Corpus
from irgen.miniature.pretraining.loop import Losses, Schedule, train
from irgen.miniature.pretraining.scene_targets import LABELS, occupancy
from irgen.miniature.world import HEIGHT_PX, WIDTH_PX

TOKEN_PX, CELLS_PER_SIDE = 8, 2
ROWS, COLUMNS = HEIGHT_PX // TOKEN_PX, WIDTH_PX // TOKEN_PX
TARGETS = len(LABELS) * CELLS_PER_SIDE**2
POSITIVE_WEIGHT = 4.0  # boxes cover little of a scene
TEXT = Schedule(steps=1000, lr=1.5e-3, warmup=50, ema=0.99)
TEXT_BATCH = 48


class TextEncoders(Protocol):
    """The part of a flow model that reads prompts."""

    t5: nn.Module
    clip: nn.Module


def targets(corpus: Corpus, copies_every: int) -> Tensor:
    """Return uint8 [N + N / copies_every, 120, 12], 255 = covered: box maps of each image token, four cells a token.

    Rows are in the order of the flow's latents: all scenes, then every `copies_every`-th again.
    """
    maps = occupancy(corpus.frames, ROWS * CELLS_PER_SIDE, COLUMNS * CELLS_PER_SIDE)
    cells = maps.view(-1, len(LABELS), ROWS, CELLS_PER_SIDE, COLUMNS, CELLS_PER_SIDE).permute(0, 2, 4, 1, 3, 5)
    rows = cells.reshape(len(maps), ROWS * COLUMNS, TARGETS).mul(255).to(torch.uint8)
    return torch.cat([rows, rows[::copies_every]])


def loss(logits: Tensor, target_u8: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [B, 120, 12] against a map of `targets`."""
    weight = torch.tensor(POSITIVE_WEIGHT)
    return F.binary_cross_entropy_with_logits(logits.float(), target_u8.float() / 255, pos_weight=weight)


class TextHead(nn.Module):
    """Reads the map out of the text encoders' outputs: one query a token, attention, then a linear layer."""

    def __init__(self, pooled_width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(ROWS * COLUMNS, T5_WIDTH) * 0.02)
        self.pooled = nn.Linear(pooled_width, T5_WIDTH)
        self.attention = nn.MultiheadAttention(T5_WIDTH, num_heads=4, batch_first=True)
        self.out = nn.Sequential(nn.LayerNorm(T5_WIDTH), nn.Linear(T5_WIDTH, T5_WIDTH), nn.GELU())
        self.logits = nn.Linear(T5_WIDTH, TARGETS)

    def forward(self, text: Tensor, pooled: Tensor) -> Tensor:
        """Return logits [B, 120, 12] from T5's states [B, 48, D] and CLIP's pooled output [B, C]."""
        queries = self.queries.expand(len(text), -1, -1)
        read = self.attention(queries + self.pooled(pooled)[:, None], text, text, need_weights=False)[0]
        # What CLIP says must count by itself, too: it is all that the flow's modulation hears.
        hidden: Tensor = self.out(read + self.pooled(pooled)[:, None] + queries)
        return self.logits(hidden)


class ReadingModel(nn.Module):
    """Text encoders and the head that reads a map from them."""

    def __init__(self, encoders: TextEncoders, pooled_width: int) -> None:
        super().__init__()
        self.t5, self.clip = encoders.t5, encoders.clip
        self.head = TextHead(pooled_width)

    def forward(self, t5_ids: Tensor, clip_ids: Tensor) -> Tensor:
        """Return logits [B, 120, 12]."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.head(self.t5(t5_ids).last_hidden_state, self.clip(clip_ids).pooler_output)


def teach_text(reader: ReadingModel, t5_ids: Tensor, clip_ids: Tensor, maps: Tensor, work: Path) -> ReadingModel:
    """Train text encoders to tell who stands where; seconds a hundred steps, as no image is looked at."""

    def step(_: int, rng: np.random.Generator) -> Losses:
        rows = torch.from_numpy(rng.integers(len(maps), size=TEXT_BATCH))
        return {"loss": loss(reader(t5_ids[rows], clip_ids[rows]), maps[rows])}

    taught = train("text-layout", reader, step, TEXT, work)
    assert isinstance(taught, ReadingModel)
    return taught
