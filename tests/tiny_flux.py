"""A random FLUX pipeline of a few thousand parameters, saved as a stock one is: what tests load in place of 34 GB."""

import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

HEIGHT_PX, WIDTH_PX = 16, 24
"""A size that fits: the autoencoder halves, the transformer takes 2 x 2 patches."""
T5_TOKENS = 32


def tiny_flux(path: Path, guidance_embeds: bool = True) -> Path:
    """Save the pipeline into a folder and return it; equal arguments give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip_words = clip_tokenizer()
        t5_words = t5_tokenizer()
        pipeline = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            vae=_autoencoder(),
            text_encoder=_clip(clip_words),
            tokenizer=clip_words,
            text_encoder_2=t5(len(t5_words)),
            tokenizer_2=t5_words,
            transformer=_transformer(guidance_embeds),
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def _transformer(guidance_embeds: bool) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def t5(vocab_size: int) -> T5EncoderModel:
    """Return a small T5 encoder."""
    return T5EncoderModel(
        T5Config(vocab_size=vocab_size, d_model=16, d_kv=8, num_heads=2, d_ff=32, num_layers=1, dropout_rate=0.0)
    )


def _clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=40,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def t5_tokenizer() -> T5TokenizerFast:
    """Return letters and digits as tokens; case counts."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -100.0), ("▁", -2.0)]
    pieces += [(char, -3.0) for char in string.ascii_letters + string.digits]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=T5_TOKENS)


def clip_tokenizer() -> CLIPTokenizer:
    """Return letters as tokens."""
    tokens = [*string.ascii_lowercase, *(char + "</w>" for char in string.ascii_lowercase)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=40)
