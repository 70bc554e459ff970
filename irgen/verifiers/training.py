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

from irgen import collective, seeds
from irgen.captions.forms import grayscale, infrared
from irgen.collective import Group
from irgen.errors import GateError, SettingsError
from irgen.progress import bar
from irgen.settings import VerifierSettings
from irgen.verifiers.augmentation import augment
from irgen.verifiers.calibration import Calibration, calibrate
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import OWN, Examples
from irgen.verifiers.irscore import IrScore

log = logging.getLogger(__name__)

MAX_LOGIT_SCALE = math.log(100)
MAX_GRADIENT_NORM = 1.0
ORDER_WEIGHT = 3.0


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
    """Images and their captions.

    Attributes:
        pixels: float32 [R + M + K + P, 3, h, w] in 0..1: real LWIR, negatives, the adapted base's own samples, and
            previews of these (P = K or 0), in the same order.
        counts: (R, M, K, P).
        caption: int64 [R + M + K + P], which of `captions` is an image's own.
        captions: distinct, [C]; so the same text is never its own negative.
    """

    pixels: torch.Tensor
    counts: tuple[int, int, int, int]
    caption: torch.Tensor
    captions: list[str]


def train(
    clip: Clip,
    settings: VerifierSettings,
    seed: int,
    examples: Examples,
    val: Examples,
    group: Group = collective.ALONE,
) -> Trained:
    """Finetune a copy of a model; the result depends on the seed, not on what was trained before.

    Args:
        clip: the model.
        settings: how.
        seed: of the draw.
        examples: of the train split.
        val: of the held-out split, by which the best checkpoint is chosen.
        group: the processes that train together; all get the same.

    Raises:
        GateError: the loss is not finite.
        SettingsError: the model normalises over a batch, and several processes have a part of it each.
    """
    if group.size > 1 and any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in clip.model.modules()):
        raise SettingsError(
            f"verifier.model = {settings.model}: it normalises over its batch, of which {group.size} processes would "
            "have a part each",
            "Train it in one process (`--ranks 1`), or take a vision transformer.",
        )
    copied = replace(clip, model=copy.deepcopy(clip.model).train())
    torch.manual_seed(int(seeds.derive(seed, "verifier", "torch")[:8], 16))
    optimizer = _optimizer(copied, settings)
    best: Trained | None = None
    since: list[float] = []
    trace: list[float] = []
    with bar(f"verifier, seed {seed}", settings.steps) as advance:
        for step in range(settings.steps):
            for parameters in optimizer.param_groups:
                parameters["lr"] = settings.learning_rate * schedule(step, settings)
            batch = draw(examples, settings.batch_size, seed, step)
            since.append(_step(copied, optimizer, batch, settings.alpha, step, group))
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

    Frames come in epochs, each in an order of its own, and so do own samples. The previews of a batch are of one step.

    Args:
        examples: of the train split.
        batch_size: images but for previews, in equal parts real, negative and, where there are any, own samples.
        seed: of the training.
        step: counted from 0; the draw depends on nothing else.
    """
    own = examples.negatives_u8.get(OWN, examples.lwir_u8[:0])
    count = max(batch_size // (3 if len(own) else 2), 1)
    frames = _in_epochs(len(examples), count, seed, step, "verifier order")
    rng = seeds.generator(seed, step, "verifier batch")
    negatives = list(filter(None, (_negative(examples, frame, rng) for frame in frames.tolist())))
    pixels = [examples.lwir_u8[frames], *(examples.negatives_u8[kind][row][None] for kind, row in negatives)]
    owners = [frames, *(examples.owners[kind][row : row + 1] for kind, row in negatives)]
    rows = _in_epochs(len(own), count, seed, step, "verifier own order")
    previews = list(examples.previews_u8.values())
    if len(own):
        shown = [own[rows], *([previews[int(rng.integers(len(previews)))][rows]] if previews else [])]
        pixels += shown
        owners += [examples.owners[OWN][rows]] * len(shown)
    texts = [examples.captions[frame] for frame in np.concatenate(owners)]
    captions = list(dict.fromkeys(texts))
    return Batch(
        pixels=augment(torch.cat(pixels).float() / 255, rng),
        counts=(len(frames), len(negatives), len(rows), len(rows) if previews else 0),
        caption=torch.tensor([captions.index(text) for text in texts]),
        captions=captions,
    )


def _in_epochs(total: int, count: int, seed: int, step: int, purpose: str) -> np.ndarray:
    """Return which of `total` rows, at most `count`, are a step's."""
    count = min(count, total)
    per_epoch = total // max(count, 1)
    order = seeds.generator(seed, step // max(per_epoch, 1), purpose).permutation(total)
    start = step % max(per_epoch, 1) * count
    return order[start : start + count]


def _negative(examples: Examples, frame: int, rng: np.random.Generator) -> tuple[str, int] | None:
    """Choose a negative made from a frame: its kind and row; None where there is none."""
    of_frame = [
        (kind, row)
        for kind, owners in examples.owners.items()
        if kind != OWN
        for row in np.flatnonzero(owners == frame).tolist()
    ]
    return of_frame[int(rng.integers(len(of_frame)))] if of_frame else None


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


def order_loss(scores: torch.Tensor, model: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return how far scores [K] are from a model's order [K]: cross-entropy of Bradley-Terry odds, mean over pairs.

    The model's scores get no gradient; 0 where there is no pair.
    """
    if len(scores) < 2:
        return scores.new_zeros(())
    a, b = torch.triu_indices(len(scores), len(scores), 1)
    odds = torch.sigmoid(scale * (model[a] - model[b])).detach()
    return F.binary_cross_entropy_with_logits(scale * (scores[a] - scores[b]), odds)


def _step(clip: Clip, optimizer: torch.optim.Optimizer, batch: Batch, alpha: float, step: int, group: Group) -> float:
    """Take one optimiser step; return the loss before it."""
    # The loss compares all with all: each process encodes a share, and has the loss of the whole.
    features = group.mapped(clip.encode_images, batch.pixels)
    forms = [form(caption) for form in (infrared, grayscale) for caption in batch.captions]
    texts = group.mapped(clip.encode_texts, clip.tokenizer(forms))
    scale = group.counted_once(clip.model.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp())  # type: ignore[operator]
    loss = _loss(features, texts, batch, alpha, scale)
    if not torch.isfinite(loss):
        raise GateError(
            f"verifier: the training loss is not finite at step {step}",
            "Lower verifier.learning_rate, raise verifier.warmup_steps, or set verifier.precision to fp32.",
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    group.add_gradients(one for one in clip.model.parameters() if one.grad is not None)
    torch.nn.utils.clip_grad_norm_(clip.model.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def _loss(features: torch.Tensor, texts: torch.Tensor, batch: Batch, alpha: float, scale: torch.Tensor) -> torch.Tensor:
    """Return the loss of unit features of a batch's images, and of its captions' infrared, then grayscale forms."""
    caption = batch.caption.to(features.device)
    real, photos = batch.counts[0], batch.counts[0] + batch.counts[1]
    count = len(batch.captions)
    form = torch.cat([caption[:real], caption[real:photos] + count])
    loss = contrastive_loss(features[:photos], texts, form, scale)
    # The rest is on IRSCORE itself: among cosines alone, a caption's part of a score may cancel in the difference.
    scale = 2 * scale
    towards = (1 - alpha) * texts[:count] - alpha * texts[count:]
    loss = loss + contrastive_loss(features[:real], towards, caption[:real], scale)
    scores = (features * towards[caption]).sum(1)
    positive, negative, own, previews = torch.split(scores, list(batch.counts))
    # Own samples are no grayscale photos: only their rank says that they are not real.
    loss = loss + ranking_loss(positive, negative, scale) + ranking_loss(positive, own, scale)
    if len(previews):
        # A generation gains on its way, and previews of one step are ordered as their ends are.
        graded = F.softplus(scale * (previews - own)).mean()
        loss = loss + graded + ORDER_WEIGHT * order_loss(previews, own, scale)
    return loss


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
