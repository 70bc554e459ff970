"""Train the small CLIP on visible scenes, in colour and without, against captions that differ in counts or sides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from irgen import seeds
from irgen.captions import forms
from irgen.miniature import models, scenes
from irgen.miniature.pretraining import scene_targets
from irgen.miniature.pretraining.captions import plain_captions
from irgen.miniature.pretraining.corpus import Corpus
from irgen.miniature.pretraining.loop import Losses, Schedule, train

BATCH = 96
VARIANTS = 2
SCHEDULE = Schedule(steps=750, lr=1e-3, warmup=150, ema=0.997, weight_decay=0.05)
PATCHES = (10, 12)
FACTS_WEIGHT, MAP_WEIGHT = 20.0, 5.0
GRAY_SHARE = 0.4
SWAPS = (("left", "right"), ("near", "midway"), ("one", "two"), ("person", "cyclist"), ("cyclist", "car"))
MAX_LOGIT_SCALE = 4.2


class ClipModel(nn.Module):
    """open_clip's model and heads that tell a scene's facts from either embedding; the heads are not shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = models.clip_tokenizer()
        config = models.open_clip_config(self.tokenizer)["model_cfg"]
        self.clip = open_clip.model.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
        self.image_facts = nn.Linear(config["embed_dim"], scene_targets.FACTS)
        self.text_facts = nn.Linear(config["embed_dim"], scene_targets.FACTS)
        self.patch_map = nn.Linear(config["vision_cfg"]["width"], len(scene_targets.LABELS))

    def forward(self, image: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return unnormalised embeddings of images [B, 3, 80, 96] (preprocessed) and token ids [M, 77], and the map.

        The map [B, 120, 3] tells what is in each of the image's patches; learning it teaches the vision tower fastest.
        """
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            self.clip.visual.output_tokens = True
            pooled, patches = self.clip.visual(image)
            self.clip.visual.output_tokens = False
            text = self._encode_text(texts)
        return pooled.float(), text.float(), self.patch_map(patches.float())

    def _encode_text(self, texts: Tensor) -> Tensor:
        """Do what open_clip's `encode_text` does, without the padding behind the longest text."""
        length = int(texts.argmax(-1).max()) + 1
        texts, clip = texts[:, :length], self.clip
        x = clip.token_embedding(texts) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        return x[torch.arange(len(texts)), texts.argmax(-1)] @ clip.text_projection


def fit(corpus: Corpus, work: Path) -> ClipModel:
    """Train and return the averaged model."""
    torch.manual_seed(0)
    model = ClipModel()
    facts = scene_targets.facts(corpus.frames)
    covered = scene_targets.occupancy(corpus.frames, *PATCHES).flatten(2).transpose(1, 2)
    texts = [plain_captions(corpus.frames, seed) for seed in range(VARIANTS)]

    for block in model.clip.visual.transformer.resblocks:
        block.compile()

    def step(_: int, rng: np.random.Generator) -> Losses:
        chosen = rng.integers(len(corpus), size=BATCH)
        gray = rng.random(BATCH) < GRAY_SHARE
        plain = [texts[int(v)][k] for v, k in zip(rng.integers(VARIANTS, size=BATCH), chosen, strict=True)]
        wrong = [swapped(text, rng) for text in plain]
        prompts = [_form(text, g) for text, g in zip(plain + wrong, [*gray, *gray], strict=True)]
        image, text, maps = model(preprocess(pictures(corpus.visible_u8[chosen], gray, rng)), _tokens(model, prompts))
        target = facts[chosen]
        told = F.smooth_l1_loss(model.image_facts(image), target) + F.smooth_l1_loss(
            model.text_facts(text[:BATCH]), target
        )
        contrast = contrastive_loss(image, text, model.clip.logit_scale.clamp(max=MAX_LOGIT_SCALE), plain, wrong)
        where = F.binary_cross_entropy_with_logits(maps, covered[chosen])
        loss = contrast + FACTS_WEIGHT * told + MAP_WEIGHT * where
        return {"loss": loss, "contrast": contrast, "facts": told, "map": where}

    averaged = train("clip", model, step, SCHEDULE, work)
    assert isinstance(averaged, ClipModel)
    return averaged.eval()


def contrastive_loss(
    image: Tensor, text: Tensor, log_scale: Tensor, right: Sequence[str], wrong: Sequence[str]
) -> Tensor:
    """Return CLIP's symmetric loss; `text` holds the true captions, then one altered caption an image.

    A caption that happens to be another image's, too, is no negative of it.
    """
    count = len(image)
    logits = log_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    names: NDArray[np.str_] = np.array([*right, *wrong])
    same = torch.from_numpy(names[:count, None] == names[None, :])
    same[torch.arange(count), torch.arange(count)] = False
    logits = logits.masked_fill(same, -1e4)
    truth = torch.arange(count)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits[:, :count].T, truth)) / 2


def swapped(text: str, rng: np.random.Generator) -> str:
    """Return a caption with one fact changed: a side, a distance, a number or a class."""
    words = text.replace(",", " ,").split()
    pairs = dict(SWAPS) | {b: a for a, b in reversed(SWAPS)}
    pairs |= {
        "centre": "left",
        "middle": "right",
        "far": "midway",
        "three": "two",
        "cyclists": "people",
        "cars": "cyclists",
    }
    places = [k for k, word in enumerate(words) if word in pairs]
    if places:
        k = int(rng.choice(places))
        words[k] = pairs[words[k]]
    else:
        words = ["one", "person", "near", "and", *words]
    return " ".join(words).replace(" ,", ",")


def pictures(visible_u8: NDArray[np.uint8], gray: NDArray[np.bool_], rng: np.random.Generator) -> Tensor:
    """Return float32 [B, 3, H, W] in 0..1: some in grayscale, of other contrast or polarity, all a little noisy."""
    image = torch.from_numpy(visible_u8.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()
    for k in np.flatnonzero(gray):
        luma = torch.from_numpy(scenes.grayscale(visible_u8[k]).astype(np.float32) / 255)
        if rng.random() < 0.3:
            luma = 1 - luma
        image[k] = luma ** float(np.exp(rng.uniform(-0.6, 0.9)))
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (len(image), 1, 1, 1)).astype(np.float32))
    return (image * gain + 0.02 * torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))).clamp(0, 1)


def preprocess(image: Tensor) -> Tensor:
    """Normalise images in 0..1 as the shipped configuration says."""
    config = models.open_clip_config(models.clip_tokenizer())["preprocess_cfg"]
    mean, std = (torch.tensor(config[key])[None, :, None, None] for key in ("mean", "std"))
    return (image - mean) / std


@torch.no_grad()
def match_auc(model: ClipModel, corpus: Corpus, gray: bool = False) -> tuple[float, float]:
    """Return how well true captions score against others, on a corpus.

    The first is P(score with the true caption > score with another image's), over all pairs of images; the second is
    the share of images whose true caption beats the same one with a single fact changed.
    """
    shown = corpus.visible_u8
    if gray:
        shown = np.repeat(np.stack([scenes.grayscale(v) for v in shown])[..., None], 3, -1)
    image = torch.from_numpy(shown.astype(np.float32) / 255).permute(0, 3, 1, 2)
    texts = plain_captions(corpus.frames)
    rng = seeds.generator(0, "match", "swap")
    altered = [swapped(text, rng) for text in texts]
    seen = torch.cat([model.clip.encode_image(preprocess(part), normalize=True) for part in image.split(64)])
    ids = _tokens(model, [_form(text, gray) for text in texts + altered])
    read = torch.cat([model.clip.encode_text(part, normalize=True) for part in ids.split(64)])
    right, wrong = (seen * read[: len(seen)]).sum(-1), (seen * read[len(seen) :]).sum(-1)
    shuffled = (seen * read[: len(seen)].roll(1, 0)).sum(-1)
    return float((right[:, None] > shuffled[None]).float().mean()), float((right > wrong).float().mean())


def export(model: ClipModel, folder: Path) -> None:
    """Write the folder that open_clip reads as `local-dir:`, in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(models.half(model.clip), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(models.open_clip_config(model.tokenizer), indent=2) + "\n")
    model.tokenizer.save_pretrained(folder)


def _form(text: str, gray: bool) -> str:
    return forms.grayscale(text) if gray else models.COLOR_PREFIX + text


def _tokens(model: ClipModel, prompts: Sequence[str]) -> Tensor:
    return model.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
