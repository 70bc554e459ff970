"""Train the text encoders and the transformer as one rectified flow on cached latents, then distil guidance into it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from irgen.captions import forms
from irgen.miniature import models, scenes
from irgen.miniature.pretraining import autoencoder, layout
from irgen.miniature.pretraining.captions import plain_captions
from irgen.miniature.pretraining.corpus import Corpus
from irgen.miniature.pretraining.loop import Losses, Schedule, Step, train

GRAY_SHARE = 8  # one scene in this many is learnt in grayscale, too
CAPTION_DROPOUT = 0.1
BATCH, DISTIL_BATCH = 32, 48
GUIDANCE = (1.0, 4.0)
FLOW = Schedule(steps=2400, lr=1.5e-3, warmup=200, ema=0.998)
OBJECTS = Schedule(steps=6000, lr=1.3e-3, warmup=60, ema=0.999)
PEOPLE = Schedule(steps=3000, lr=8e-4, warmup=60, ema=0.999)
LAYOUT = Schedule(steps=4500, lr=1e-3, warmup=100, ema=0.999)
DISTIL = Schedule(steps=120, lr=5e-4, warmup=10, ema=0.96)
HIDDEN_BLOCK = 0  # the single block whose image tokens are taught what they show
OBJECT_WEIGHTS = {"person": 5, "cyclist": 5, "car": 2}
NEAR_PX, FEW_BOXES = 24, 2
PEOPLE_SHARE = 0.6  # of the draws, in the phase that is about people


class FlowModel(nn.Module):
    """What FLUX's pipeline holds besides the autoencoder; prompts come as token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.t5_tokenizer, self.clip_tokenizer = models.t5_tokenizer(), models.clip_tokenizer()
        self.t5 = models.build_t5(len(self.t5_tokenizer))
        self.clip = models.build_clip_text(self.clip_tokenizer)
        self.transformer = models.build_transformer()
        self.register_buffer("image_ids", _image_ids(), persistent=False)
        self.register_buffer("text_ids", torch.zeros(models.T5_TOKENS, 3), persistent=False)
        self._hidden: list[Tensor] = []
        self.transformer.single_transformer_blocks[HIDDEN_BLOCK].register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
        self._hidden.append(output[1])

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return T5 ids [N, 48] and CLIP ids [N, 77] as the pipeline makes them."""
        t5 = self.t5_tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clip = self.clip_tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return t5, clip

    def forward(self, x: Tensor, sigma: Tensor, guidance: Tensor, t5_ids: Tensor, clip_ids: Tensor) -> Tensor:
        """Return the velocity [B, 120, 32] at x [B, 120, 32], sigma [B] in 0..1."""
        return self.with_hidden(x, sigma, guidance, t5_ids, clip_ids)[0]

    def with_hidden(
        self, x: Tensor, sigma: Tensor, guidance: Tensor, t5_ids: Tensor, clip_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity and the image tokens [B, 120, D] as they leave the first single block."""
        # The plain formula is faster here than the CPU's fused attention, whose backward pass is slow.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            velocity = self.transformer(
                hidden_states=x,
                timestep=sigma,
                guidance=guidance,
                pooled_projections=self.clip(clip_ids).pooler_output,
                encoder_hidden_states=self.t5(t5_ids).last_hidden_state,
                txt_ids=self.text_ids,
                img_ids=self.image_ids,
                return_dict=False,
            )[0]
        return velocity.float(), self._hidden.pop()


@dataclass(frozen=True, slots=True)
class Latents:
    """Packed, scaled latents [N, 120, 32] in fp16 and their prompts' ids."""

    packed: Tensor
    t5_ids: Tensor
    clip_ids: Tensor


def fit(
    corpus: Corpus, vae: AutoencoderKL, work: Path, on_checkpoint: Callable[[FlowModel, int], None] | None = None
) -> FlowModel:
    """Train the flow, with a stress on objects, on people, on who stands where, then the guidance; return the model."""
    torch.manual_seed(0)
    model = FlowModel()
    data = latents(corpus, vae, model, work / "latents.pt")

    def checkpointed(averaged: nn.Module, step: int) -> None:
        if on_checkpoint and isinstance(averaged, FlowModel):
            on_checkpoint(averaged, step)

    weights, people = object_weights(corpus), near_people(corpus)
    for name, schedule, weighted, focus in (
        ("flow", FLOW, None, None),
        ("flow-objects", OBJECTS, weights, None),
        ("flow-people", PEOPLE, weights, people),
    ):
        model.transformer.compile_repeated_blocks()
        step = _flow_step(model, data, weighted, focus)
        model.load_state_dict(train(name, model, step, schedule, work, checkpointed).state_dict())
    _teach_layout(model, data, layout.targets(corpus, GRAY_SHARE), weights, people, work)
    return _distil(model, data, work)


def object_weights(corpus: Corpus) -> Tensor:
    """Return how much each image token of `latents` counts, [N, 120, 1] in fp16.

    Objects cover few tokens; unweighted, the flow learns roads and skies long before people.
    """
    weights = np.ones((len(corpus), layout.ROWS, layout.COLUMNS), np.float16)
    for grid, frame in zip(weights, corpus.frames, strict=True):
        for box in frame.boxes:
            rows = slice(int(box.y_px // layout.TOKEN_PX), math.ceil((box.y_px + box.h_px) / layout.TOKEN_PX))
            columns = slice(int(box.x_px // layout.TOKEN_PX), math.ceil((box.x_px + box.w_px) / layout.TOKEN_PX))
            grid[rows, columns] = np.maximum(grid[rows, columns], OBJECT_WEIGHTS[box.label])
    return torch.from_numpy(np.concatenate([weights, weights[::GRAY_SHARE]])).flatten(1)[..., None]


def near_people(corpus: Corpus) -> NDArray[np.int64]:
    """Return the rows of `latents` that show a near person or cyclist and little else.

    In most frames people are a few tokens among others; here they are what the picture is about.
    """
    near = [
        len(frame.boxes) <= FEW_BOXES and any(box.label != "car" and box.h_px >= NEAR_PX for box in frame.boxes)
        for frame in corpus.frames
    ]
    return np.flatnonzero([*near, *near[::GRAY_SHARE]])


def _flow_step(model: FlowModel, data: Latents, weights: Tensor | None, focus: NDArray[np.int64] | None) -> Step:
    empty = model.tokens([""])

    def step(_: int, rng: np.random.Generator) -> Losses:
        rows = rng.integers(len(data.packed), size=BATCH) if focus is None else _rows(len(data.packed), focus, rng)
        chosen = torch.from_numpy(rows)
        dropped = torch.from_numpy(rng.random(BATCH) < CAPTION_DROPOUT)[:, None]
        t5_ids = torch.where(dropped, empty[0], data.t5_ids[chosen])
        clip_ids = torch.where(dropped, empty[1], data.clip_ids[chosen])
        x, sigma, velocity = _noised(data.packed[chosen].float(), rng)
        error = (model(x, sigma, torch.ones(BATCH), t5_ids, clip_ids) - velocity).square().mean(-1, keepdim=True)
        if weights is None:
            return {"loss": error.mean()}
        weight = weights[chosen].float()
        return {"loss": (weight * error).sum() / weight.sum(), "plain": error.mean()}

    return step


class _LayoutModel(nn.Module):
    """A flow whose image tokens also tell what boxes they lie in, and whose text encoders tell it from captions."""

    def __init__(self, flow: FlowModel) -> None:
        super().__init__()
        self.flow = flow
        self.reader = layout.ReadingModel(flow, models.CLIP_WIDTH)
        width = flow.transformer.inner_dim
        self.image_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.image_logits = nn.Linear(width, layout.TARGETS)


def _teach_layout(
    model: FlowModel, data: Latents, maps: Tensor, weights: Tensor, focus: NDArray[np.int64], work: Path
) -> None:
    """Go on with the flow, with the two targets of `layout` beside its own; `model` becomes the averaged one."""
    taught = _LayoutModel(model)
    reader = layout.teach_text(taught.reader, data.t5_ids, data.clip_ids, maps, work)
    taught.reader.load_state_dict(reader.state_dict())
    model.transformer.compile_repeated_blocks()
    empty = model.tokens([""])

    def step(_: int, rng: np.random.Generator) -> Losses:
        chosen = torch.from_numpy(_rows(len(data.packed), focus, rng))
        dropped = torch.from_numpy(rng.random(BATCH) < CAPTION_DROPOUT)[:, None]
        t5_ids, clip_ids = data.t5_ids[chosen], data.clip_ids[chosen]
        x, sigma, velocity = _noised(data.packed[chosen].float(), rng)
        told = torch.where(dropped, empty[0], t5_ids), torch.where(dropped, empty[1], clip_ids)
        predicted, hidden = model.with_hidden(x, sigma, torch.ones(BATCH), *told)
        error = (predicted - velocity).square().mean(-1, keepdim=True)
        weight = weights[chosen].float()
        with torch.autocast("cpu", torch.bfloat16):
            logits = taught.image_logits(taught.image_head(hidden))
        losses = {
            "flow": (weight * error).sum() / weight.sum(),
            "image": layout.loss(logits, maps[chosen]),
            "text": layout.loss(taught.reader(t5_ids, clip_ids), maps[chosen]),
        }
        return {"loss": torch.stack(list(losses.values())).sum(), "plain": error.mean(), **losses}

    averaged = train("flow-layout", taught, step, LAYOUT, work)
    assert isinstance(averaged, _LayoutModel)
    model.load_state_dict(averaged.flow.state_dict())


def _rows(count: int, focus: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a batch of rows, `PEOPLE_SHARE` of them from `focus`."""
    rows = rng.integers(count, size=BATCH)
    return np.where(rng.random(BATCH) < PEOPLE_SHARE, rng.choice(focus, BATCH), rows)


def _distil(teacher: FlowModel, data: Latents, work: Path) -> FlowModel:
    """Teach the guidance embedding what classifier-free guidance of the teacher would do, as in FLUX.1-dev."""
    student = copy.deepcopy(teacher)
    # Only the transformer reads the guidance; the text encoders stay as they are.
    student.t5.requires_grad_(False)
    student.clip.requires_grad_(False)
    teacher.transformer.compile_repeated_blocks()
    student.transformer.compile_repeated_blocks()
    empty, ones = teacher.tokens([""]), torch.ones(DISTIL_BATCH)

    def step(_: int, rng: np.random.Generator) -> Losses:
        chosen = torch.from_numpy(rng.integers(len(data.packed), size=DISTIL_BATCH))
        t5_ids, clip_ids = data.t5_ids[chosen], data.clip_ids[chosen]
        x, sigma = _noised(data.packed[chosen].float(), rng)[:2]
        scale = torch.from_numpy(rng.uniform(*GUIDANCE, DISTIL_BATCH).astype(np.float32))
        with torch.no_grad():
            told = teacher(x, sigma, ones, t5_ids, clip_ids)
            untold = teacher(x, sigma, ones, empty[0].expand_as(t5_ids), empty[1].expand_as(clip_ids))
            target = untold + scale[:, None, None] * (told - untold)
        return {"loss": F.mse_loss(student(x, sigma, scale, t5_ids, clip_ids), target)}

    distilled = train("distil", student, step, DISTIL, work)
    assert isinstance(distilled, FlowModel)
    return distilled


def latents(corpus: Corpus, vae: AutoencoderKL, model: FlowModel, cache: Path) -> Latents:
    """Encode the visible frames, and one in eight in grayscale, with their captions; kept in a file."""
    texts = plain_captions(corpus.frames)
    some = range(0, len(corpus), GRAY_SHARE)
    prompts = [models.COLOR_PREFIX + text for text in texts] + [forms.grayscale(texts[k]) for k in some]
    if not cache.exists():
        parts = [_packed(vae, corpus.visible_u8[k : k + 512]) for k in range(0, len(corpus), 512)]
        gray = np.stack([scenes.grayscale(corpus.visible_u8[k]) for k in some])
        parts += [_packed(vae, gray[k : k + 512]) for k in range(0, len(gray), 512)]
        torch.save(torch.cat(parts), cache)
    return Latents(torch.load(cache, weights_only=True), *model.tokens(prompts))


def export(model: FlowModel, vae: AutoencoderKL, folder: Path) -> None:
    """Write the pipeline's folder: transformer and autoencoder in fp16, the text encoders in fp32.

    diffusers loads fp16 files as fp32 unless told otherwise, transformers keeps the files' type: so the folder loads as
    fp32 as a whole.
    """
    nameless = copy.deepcopy(vae)
    nameless.register_to_config(_name_or_path="")  # else the folder of this machine is written along
    parts = pipeline(copy.deepcopy(model), nameless)
    parts.transformer.half()
    parts.vae.half()
    parts.save_pretrained(folder)


def pipeline(model: FlowModel, vae: AutoencoderKL) -> FluxPipeline:
    """Return diffusers' pipeline around the parts."""
    return FluxPipeline(
        scheduler=models.build_scheduler(),
        vae=vae,
        text_encoder=model.clip,
        tokenizer=model.clip_tokenizer,
        text_encoder_2=model.t5,
        tokenizer_2=model.t5_tokenizer,
        transformer=model.transformer,
    )


def _image_ids() -> Tensor:
    return FluxPipeline._prepare_latent_image_ids(1, layout.ROWS, layout.COLUMNS, torch.device("cpu"), torch.float32)


@torch.no_grad()
def _packed(vae: AutoencoderKL, image_u8: NDArray[np.uint8]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        latent = autoencoder.encode(vae, image_u8).float()
    latent = (latent - vae.config.shift_factor) * vae.config.scaling_factor
    return FluxPipeline._pack_latents(latent, *latent.shape).half()


def _noised(x0: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return x_sigma = (1 - sigma) x0 + sigma n, sigma (logit-normal) and the velocity n - x0."""
    noise = torch.from_numpy(rng.standard_normal(tuple(x0.shape), np.float32))
    sigma = torch.from_numpy(rng.standard_normal(len(x0), np.float32)).sigmoid()
    mix = sigma[:, None, None]
    return (1 - mix) * x0 + mix * noise, sigma, noise - x0
