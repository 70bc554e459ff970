"""The architectures of the miniature: a small but real FLUX, a small open_clip model, and their tokenizers."""

from __future__ import annotations

import string
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from irgen.captions import rules
from irgen.miniature.world import HEIGHT_PX, WIDTH_PX

LATENT_CHANNELS = 8
T5_TOKENS = 48
CLIP_TOKENS = 77
T5_WIDTH, CLIP_WIDTH = 128, 96
HEADS, HEAD_WIDTH, ROPE_AXES = 4, 40, (8, 16, 16)
DOUBLE_BLOCKS, SINGLE_BLOCKS = 2, 4

COLOR_PREFIX = "A COLOR photo of "
FORM_WORDS = ("A", "An", "COLOR", "GRAYSCALE", "INFRARED", "photo", "of")
START, END = "<|startoftext|>", "<|endoftext|>"


def build_autoencoder() -> AutoencoderKL:
    """Return FLUX's autoencoder in small: 4 x downsampling, images in -1..1, 8 latent channels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=96,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def build_transformer() -> FluxTransformer2DModel:
    """Return a small FLUX transformer with FLUX.1-dev's inputs; it predicts a zero velocity before training."""
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=ROPE_AXES,
    )
    for name, module in model.named_modules():
        # As in DiT: every block starts as the identity.
        if isinstance(module, nn.Linear) and (
            name.endswith((".norm1.linear", ".norm1_context.linear", ".norm.linear")) or name == "proj_out"
        ):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return the flow's Euler sampler; so few latents need no shift towards noise."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False)


def build_t5(vocab_size: int) -> T5EncoderModel:
    """Return a small T5 encoder."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocab_size,
            d_model=T5_WIDTH,
            d_kv=32,
            num_heads=4,
            d_ff=256,
            num_layers=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def build_clip_text(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return the small CLIP text model whose pooled output conditions the flow."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=CLIP_WIDTH,
            intermediate_size=2 * CLIP_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CLIP_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def words() -> list[str]:
    """Return every word of the miniature's prompts, sorted."""
    return sorted({*rules.VOCABULARY, *FORM_WORDS})


def t5_tokenizer() -> T5TokenizerFast:
    """Return a unigram tokenizer: a piece a word (case counts), characters for any other word."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -100.0)]
    pieces += [("\u2581" + word, -1.0) for word in words()] + [(mark, -2.0) for mark in string.punctuation]
    pieces += [("\u2581", -4.0)] + [(char, -10.0) for char in string.ascii_letters + string.digits]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=T5_TOKENS)


def clip_tokenizer() -> CLIPTokenizer:
    """Return CLIP's byte-level BPE with merges for the miniature's words only; it lowers case, as CLIP's does."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in visible] + [chr(256 + k) for k in range(256 - len(visible))]
    vocab = {token: k for k, token in enumerate([*alphabet, *(char + "</w>" for char in alphabet)])}
    merges: list[tuple[str, str]] = []
    for word in sorted({word.lower() for word in words()}, key=lambda w: (-len(w), w)):
        parts = [*word[:-1], word[-1] + "</w>"]
        piece = parts[0]
        for part in parts[1:]:
            if (piece, part) not in merges:
                merges.append((piece, part))
            piece += part
            vocab.setdefault(piece, len(vocab))
    for token in (START, END):
        vocab[token] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CLIP_TOKENS)


def open_clip_config(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """Return what stands in `open_clip_config.json`: a small ViT and text transformer, images 80 x 96."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": [HEIGHT_PX, WIDTH_PX],
                "patch_size": 8,
                "width": 128,
                "head_width": 32,
                "layers": 4,
                "mlp_ratio": 3.0,
            },
            "text_cfg": {
                "context_length": CLIP_TOKENS,
                "vocab_size": len(tokenizer),
                "width": 128,
                "heads": 4,
                "layers": 2,
                "mlp_ratio": 2.0,
                "hf_tokenizer_name": "irgen-miniature",
            },
        },
        "preprocess_cfg": {
            "mean": [0.45, 0.45, 0.45],
            "std": [0.25, 0.25, 0.25],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def half(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return a module's state in fp16, as it is shipped."""
    return {name: t.half().contiguous() if t.is_floating_point() else t for name, t in module.state_dict().items()}
