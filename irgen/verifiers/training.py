"""Contrastive finetuning of a CLIP model on infrared images and on what only resembles them."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from irgen import seeds
from irgen.captions.forms import grayscale, infrared
from irgen.errors import GateError
from irgen.progress import bar
from irgen.settings import VerifierSettings
from irgen.verifiers.augmentation import augment
from irgen.verifiers.calibration import Calibration, calibrate
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import Examples
from irgen.verifiers.irscore import IrScore

log = logging.getLogger(__name__)

MAX_LOGIT_SCALE = math.log(100)
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Trained:
    """The best checkpoint of one training.

    Attributes:
        weights: the model's state dict, on the CPU.
        step: after which it was taken.
        calibration: of this checkpoint.
        losses: mean training loss between validations.
    """

    weights: dict[str, torch.Tensor]
    step: int
    calibration: Calibration
    losses: list[float]


@dataclass(frozen=True)
class Batch:
    """Real images, negatives, and the captions of both.

    Attributes:
        pixels: float32 [R + M, 3, h, w] in 0..1: real LWIR first, then negatives.
        is_real: bool [R + M].
        caption: int64 [R + M], which of `captions` is an image's own.
        captions: distinct, [C]; so the same text is never its own negative.
    """

    pixels: torch.Tensor
    is_real: torch.Tensor
    caption: torch.Tensor
    captions: list[str]


def train(clip: Clip, settings: VerifierSettings, seed: int, examples: Examples, val: Examples) -> Trained:
    """Finetune a copy of a model; the result depends on the seed, not on what was trained before.

    Raises:
        GateError: the loss is not finite.
    """
    copied = replace(clip, model=copy.deepcopy(clip.model).train())
    torch.manual_seed(int(seeds.derive(seed, "verifier", "torch")[:8], 16))
    optimizer = _optimizer(copied, settings)
    best: Trained | None = None
    since: list[float] = []
    trace: list[float] = []
    with bar(f"verifier, seed {seed}", settings.steps) as advance:
        for step in range(settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * schedule(step, settings)
            batch = draw(examples, settings.batch_size, seed, step)
            since.append(_step(copied, optimizer, batch, settings.alpha, step))
            advance(1)
            done = step + 1
            if done % settings.validate_every and done < settings.steps:
                continue
            trace.append(float(np.mean(since)))
            since.clear()
            calibration = _validate(copied, settings.alpha, val)
            log.info("verifier, seed %d, step %d: loss %.3f, AUC %s", seed, done, trace[-1], calibration.auc)
            if best is None or calibration.objective > best.calibration.objective:
                best = Trained(_weights(copied.model), done, calibration, trace)
    assert best is not None, "the last step always validates"
    return best


def schedule(step: int, settings: VerifierSettings) -> float:
    """Return the learning rate of a step relative to its peak: linear warm-up, then half a cosine down to 0."""
    warmup = min(settings.warmup_steps, settings.steps - 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (settings.steps - warmup)))


def draw(examples: Examples, batch_size: int, seed: int, step: int) -> Batch:
    """Draw the batch of a step: every real image beside one of its own negatives, the hardest to tell apart by content.

    Frames come in epochs, each in an order of its own.

    Args:
        examples: of the train split.
        batch_size: images; half of them real.
        seed: of the training.
        step: counted from 0; the draw depends on nothing else.
    """
    count = min(max(batch_size // 2, 1), len(examples))
    per_epoch = len(examples) // count
    order = seeds.generator(seed, step // per_epoch, "verifier order").permutation(len(examples))
    start = step % per_epoch * count
    frames = order[start : start + count]
    rng = seeds.generator(seed, step, "verifier batch")
    pixels, owners = [examples.lwir_u8[frames]], [frames]
    for frame in frames:
        of_frame = [
            (kind, row) for kind, rows in examples.owners.items() for row in np.flatnonzero(rows == frame).tolist()
        ]
        if of_frame:
            kind, row = of_frame[int(rng.integers(len(of_frame)))]
            pixels.append(examples.negatives_u8[kind][row][None])
            owners.append(np.array([frame]))
    own = [examples.captions[frame] for frame in np.concatenate(owners)]
    captions = list(dict.fromkeys(own))
    return Batch(
        pixels=augment(torch.cat(pixels).float() / 255, rng),
        is_real=torch.arange(len(own)) < count,
        caption=torch.tensor([captions.index(caption) for caption in own]),
        captions=captions,
    )


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, text_of: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Return CLIP's loss in both directions, where several images may share a text.

    Args:
        images: unit features [B, D].
        texts: unit features of distinct texts, [T, D].
        text_of: int64 [B], each image's own text; a text with no image counts only as a negative.
        scale: the logits' factor.
    """
    logits = scale * images @ texts.T
    own = F.one_hot(text_of, len(texts)).to(logits.dtype)
    has_image = own.sum(0) > 0
    positives = (own / own.sum(0).clamp(min=1)).T[has_image]
    return (F.cross_entropy(logits, text_of) + F.cross_entropy(logits.T[has_image], positives)) / 2


def ranking_loss(positive: torch.Tensor, negative: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the mean over pairs of softplus(scale (negative - positive)), a smooth 1 - AUC; 0 without negatives."""
    if not len(negative):
        return positive.new_zeros(())
    return F.softplus(scale * (negative[None, :] - positive[:, None])).mean()


def _step(clip: Clip, optimizer: torch.optim.Optimizer, batch: Batch, alpha: float, step: int) -> float:
    """Take one optimiser step; return the loss before it."""
    features = clip.encode_images(batch.pixels)
    forms = [form(caption) for form in (infrared, grayscale) for caption in batch.captions]
    texts = clip.encode_texts(clip.tokenizer(forms))
    scale = clip.model.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()  # type: ignore[operator]
    is_real, caption = batch.is_real.to(clip.device), batch.caption.to(clip.device)
    count = len(batch.captions)
    loss = contrastive_loss(features, texts, torch.where(is_real, caption, caption + count), scale)
    # The rest is on IRSCORE itself: among cosines alone, a caption's part of a score may cancel in the difference.
    towards = (1 - alpha) * texts[:count] - alpha * texts[count:]
    loss = loss + contrastive_loss(features[is_real], towards, caption[is_real], 2 * scale)
    scores = (features * towards[caption]).sum(1)
    loss = loss + ranking_loss(scores[is_real], scores[~is_real], 2 * scale)
    if not torch.isfinite(loss):
        raise GateError(
            f"verifier: the training loss is not finite at step {step}",
            "Lower verifier.learning_rate, raise verifier.warmup_steps, or set verifier.precision to fp32.",
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(clip.model.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def _validate(clip: Clip, alpha: float, val: Examples) -> Calibration:
    clip.model.eval()
    calibration = calibrate(IrScore(clip, alpha), val)
    clip.model.train()
    return calibration


def _optimizer(clip: Clip, settings: VerifierSettings) -> torch.optim.AdamW:
    """Return AdamW that does not shrink norms, biases and the logit scale."""
    parameters = [one for one in clip.model.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in parameters if one.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-6)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
