"""Random pipelines of a few thousand parameters of SDXL, PixArt-Sigma, DiT and SD, saved as stock ones are."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.tiny_flux import clip_tokenizer, t5, t5_tokenizer

HEIGHT_PX, WIDTH_PX = 16, 24
DIT_SIDE_PX = 16
LABELS = {0: "tench, Tinca tinca", 1: "umbrella", 2: "white shark"}


def tiny_sdxl(path: Path) -> Path:
    """Save an SDXL pipeline with its own Euler scheduler."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = clip_tokenizer()
        pipeline = StableDiffusionXLPipeline(
            vae=_autoencoder(),
            text_encoder=_clip(tokenizer, CLIPTextModel),
            text_encoder_2=_clip(tokenizer, CLIPTextModelWithProjection),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=tiny_unet(),
            scheduler=EulerDiscreteScheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                steps_offset=1,
                timestep_spacing="leading",
            ),
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def tiny_unet(seed: int = 1) -> UNet2DConditionModel:
    """Return SDXL's U-Net in small."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=16 + 6 * 8,
            cross_attention_dim=32,
            norm_num_groups=4,
        )


def tiny_pixart(path: Path) -> Path:
    """Save a PixArt-Sigma pipeline with its own DPM-Solver++."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = t5_tokenizer()
        pipeline = PixArtSigmaPipeline(
            tokenizer=tokenizer,
            text_encoder=t5(len(tokenizer)),
            vae=_autoencoder(),
            transformer=PixArtTransformer2DModel(
                sample_size=8,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                cross_attention_dim=16,
                caption_channels=16,
                use_additional_conditions=False,
                interpolation_scale=1,
            ),
            scheduler=DPMSolverMultistepScheduler(),
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def tiny_dit(path: Path) -> Path:
    """Save a DiT pipeline with its own DDIM scheduler."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = DiTPipeline(
            transformer=DiTTransformer2DModel(
                sample_size=DIT_SIDE_PX // 2,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                out_channels=8,
            ),
            vae=_autoencoder(),
            scheduler=DDIMScheduler(clip_sample=False),
        )
        _wake(pipeline.transformer)
    pipeline.save_pretrained(path, safe_serialization=True)
    # Published DiTs have the labels in their index; `save_pretrained` leaves them out.
    index = path / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": LABELS}))
    return path


def tiny_stable_diffusion(path: Path) -> Path:
    """Save a Stable Diffusion pipeline with a DDIM scheduler."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = clip_tokenizer()
        pipeline = StableDiffusionPipeline(
            vae=_autoencoder(),
            text_encoder=_clip(tokenizer, CLIPTextModel),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                block_out_channels=(8, 16),
                layers_per_block=1,
                sample_size=8,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                attention_head_dim=2,
                cross_attention_dim=16,
                norm_num_groups=4,
            ),
            scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, beta_schedule="scaled_linear"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def _wake(transformer: DiTTransformer2DModel) -> None:
    """Give the class more to say: at random, all of a small DiT's classes are drawn alike."""
    for name, parameter in transformer.named_parameters():
        if "class_embedder" in name:
            parameter.data *= 20


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.13025,
    )


def _clip(tokenizer: CLIPTokenizer, kind: type[CLIPTextModel]) -> CLIPTextModel:
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=40,
            projection_dim=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
