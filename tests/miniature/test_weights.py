"""What is shipped: small enough, whole, and read by the ordinary code of diffusers and open_clip."""

import numpy as np
import open_clip
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file

from irgen.captions import forms
from irgen.miniature import clip_dir, flux_dir, models, scenenet
from irgen.miniature.scenes import Scene, Spec, grayscale, render
from irgen.miniature.world import sample_world
from irgen.seeds import generator

MAX_BYTES = 24_000_000


@pytest.fixture(scope="module")
def pipeline() -> FluxPipeline:
    return FluxPipeline.from_pretrained(flux_dir())


def scene(k: int, persons: int, time: str = "day") -> Scene:
    world = sample_world(generator(9, k, "world"), time, "road")
    return render(9, k, Spec(world, persons=persons, cyclists=0, cars=0))


def picture(image_u8: np.ndarray) -> torch.Tensor:
    stacked = image_u8 if image_u8.ndim == 3 else np.repeat(image_u8[..., None], 3, -1)
    return torch.from_numpy(stacked.astype(np.float32) / 255).permute(2, 0, 1)[None]


def pil(shown: Scene) -> Image.Image:
    return Image.fromarray(shown.visible_u8)


def test_weights_are_small_finite_safetensors() -> None:
    files = [path for path in flux_dir().parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]
    for path in files:
        if path.suffix == ".safetensors":
            assert all(tensor.isfinite().all() for tensor in load_file(path).values()), path


def test_the_pipeline_paints_a_picture_of_the_right_size(pipeline: FluxPipeline) -> None:
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        "A COLOR photo of a road by day with one person near in the centre",
        height=80,
        width=96,
        num_inference_steps=6,
        max_sequence_length=models.T5_TOKENS,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images[0]
    assert image.shape == (80, 96, 3) and np.isfinite(image).all()
    # A road by day: the sky is brighter than the asphalt, and there is some contrast.
    assert image[:12].mean() > image[55:].mean() and image.std() > 0.08


def test_the_autoencoder_passes_visible_and_thermal_images(pipeline: FluxPipeline) -> None:
    for shown, least_db in ((scene(0, 1).visible_u8, 27), (scene(0, 1, "night").lwir_u8, 31)):
        image = picture(shown) * 2 - 1
        with torch.no_grad():
            back = pipeline.vae.decode(pipeline.vae.encode(image).latent_dist.mode()).sample.clamp(-1, 1)
        assert -10 * np.log10(float(((back - image) / 2).square().mean())) > least_db


def test_open_clip_reads_the_folder_and_tells_captions_apart() -> None:
    name = f"local-dir:{clip_dir()}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    tokenizer = open_clip.get_tokenizer(name)
    assert tokenizer("a road").shape == (1, 77)
    prompts = [
        models.COLOR_PREFIX + f"a road by day with {what}" for what in ("nobody", "four people near on the left")
    ]
    with torch.no_grad():
        text = model.encode_text(tokenizer(prompts), normalize=True)
        empty = torch.stack([preprocess(pil(scene(k, 0))) for k in range(8)])
        likeness = model.encode_image(empty, normalize=True) @ text.T
    assert (likeness[:, 0] > likeness[:, 1]).float().mean() > 0.8


def test_forms_differ_for_clip() -> None:
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_dir()}")
    assert (tokenizer(forms.infrared("a road")) != tokenizer(forms.grayscale("a road"))).any()


def test_scenenet_takes_any_size_and_tells_thermal_from_grayscale() -> None:
    net = scenenet.load()
    scenes = [scene(k, 1) for k in range(12)]
    thermal = torch.cat([net(picture(s.lwir_u8)) for s in scenes])
    gray = torch.cat([net(picture(grayscale(s.visible_u8))) for s in scenes])
    assert thermal.shape == (12, 128) and thermal.dtype == torch.float32
    assert net(torch.rand(2, 3, 299, 299)).shape == (2, 128)
    assert 0.3 < float(torch.cat([thermal, gray]).std()) < 3
    between = (thermal.mean(0) - gray.mean(0)).norm()
    halves = (thermal[:6].mean(0) - thermal[6:].mean(0)).norm()
    assert between > 1.5 * halves
