"""One training loop for every stage: warm-up and cosine decay, averaged weights, checkpoints, a log."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irgen import seeds

SEED = 7
CHECKPOINT_EVERY = 250
LOG_EVERY = 25

Losses = dict[str, Tensor]
Step = Callable[[int, np.random.Generator], Losses]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        steps: optimiser steps.
        lr: highest learning rate, reached after `warmup` steps, then falling to 2 % along a cosine.
        ema: decay of the averaged weights.
        weight_decay: AdamW's, on matrices only.
    """

    steps: int
    lr: float
    warmup: int = 100
    ema: float = 0.995
    weight_decay: float = 0.01

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        progress = min(1.0, step / self.steps)
        return self.lr * min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    name: str,
    model: nn.Module,
    step_losses: Step,
    schedule: Schedule,
    work: Path,
    on_checkpoint: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Train `model` in place and return a copy with averaged weights; continues where a killed run stopped.

    Args:
        name: of the stage; names its checkpoint, its log and its random streams.
        model: what learns; parameters that need no gradient stay.
        step_losses: (step, generator) -> losses; the key "loss" is minimised, all are logged.
        schedule: length and rates.
        work: folder of the checkpoint and the log.
        on_checkpoint: called with the averaged model and the step after each checkpoint.
    """
    averaged = copy.deepcopy(model).requires_grad_(False)
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98))
    checkpoint, learning = work / f"{name}.pt", {"model": model, "averaged": averaged, "optimizer": optimizer}
    first, spent_s = _resume(checkpoint, learning)
    sums: dict[str, float] = {}
    start, seen = time.monotonic(), 0
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr_at(step)
        losses = step_losses(step, seeds.generator(SEED, step, name))
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        _average(averaged, model, min(schedule.ema, (1 + step) / (10 + step)))
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        seen += 1
        if (step + 1) % LOG_EVERY == 0 or step + 1 == schedule.steps:
            elapsed_s = spent_s + time.monotonic() - start
            means = {key: round(total / seen, 5) for key, total in sums.items()}
            _log(work / f"{name}.log", {"step": step + 1, "seconds": round(elapsed_s), **means})
            sums, seen = {}, 0
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == schedule.steps:
            _save(checkpoint, learning, step + 1, spent_s + time.monotonic() - start)
            if on_checkpoint:
                on_checkpoint(averaged, step + 1)
    return averaged


def _resume(checkpoint: Path, learning: Mapping[str, Any]) -> tuple[int, float]:
    """Load what was learnt so far; return the steps done, and the seconds that they took."""
    if not checkpoint.exists():
        return 0, 0.0
    state = torch.load(checkpoint, weights_only=True)
    for name, one in learning.items():
        one.load_state_dict(state[name])
    return state["step"], state["spent_s"]


def _save(checkpoint: Path, learning: Mapping[str, Any], step: int, spent_s: float) -> None:
    state = {name: one.state_dict() for name, one in learning.items()}
    torch.save({**state, "step": step, "spent_s": spent_s}, checkpoint.with_suffix(".tmp"))
    checkpoint.with_suffix(".tmp").replace(checkpoint)


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, now in zip(averaged.parameters(), model.parameters(), strict=True):
        kept.lerp_(now, 1 - decay)
    for kept_buffer, buffer in zip(averaged.buffers(), model.buffers(), strict=True):
        kept_buffer.copy_(buffer)


def _log(path: Path, row: dict[str, float]) -> None:
    line = json.dumps(row)
    print(path.stem, line, flush=True)
    with path.open("a") as file:
        file.write(line + "\n")
