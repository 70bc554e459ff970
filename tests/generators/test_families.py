"""SDXL, PixArt-Sigma and DiT, step by step, against their stock pipelines; and what all families have in common."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiTPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PixArtSigmaPipeline,
    StableDiffusionXLPipeline,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from irgen import generators, search
from irgen.errors import SettingsError, WeightsError
from irgen.generators import Engine, loading
from irgen.generators.levels import diffusion_levels
from irgen.search.interface import BACKWARD_FORWARDS, Differentiable
from irgen.settings import (
    BaseSettings,
    FirstOrderSearch,
    HalvingSearch,
    PathsSearch,
    RandomSearch,
    ZeroOrderSearch,
)
from tests.fakes import FakeVerifier
from tests.tiny_families import DIT_SIDE_PX, HEIGHT_PX, WIDTH_PX, tiny_dit, tiny_pixart, tiny_sdxl, tiny_unet
from tests.tiny_flux import T5_TOKENS, tiny_flux

STEPS, BATCH = 4, 2
TEXTS = ("an infrared photo", "a dog", "two near")
CLASSES = ("umbrella", "0", "white shark")
MAKERS = {"flux": tiny_flux, "sdxl": tiny_sdxl, "pixart": tiny_pixart, "dit": tiny_dit}
SEARCHES = (
    RandomSearch(candidates=2),
    ZeroOrderSearch(warm_start=1, neighbours=2, iterations=1),
    PathsSearch(paths=1, renoisings=2, sigma=0.2, forward=0.3, backward=0.6),
    FirstOrderSearch(warm_start=1, iterations=1),
    HalvingSearch(schedule=((3, 2), (1, STEPS))),
)
LITTLE_NOISE = EulerDiscreteScheduler(timestep_spacing="trailing", beta_end=0.002)
"""So little at first that it matters whether noise is taken for a whole latent or for the noise in one."""
GUIDED = ("sdxl", "pixart", "dit")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def base(family: str, folder: Path, **changes: object) -> BaseSettings:
    height, width = (DIT_SIDE_PX, DIT_SIDE_PX) if family == "dit" else (HEIGHT_PX, WIDTH_PX)
    settings = {"height_px": height, "width_px": width, "max_sequence_length": T5_TOKENS, "precision": "fp32"}
    return BaseSettings.model_validate({"model": str(folder), **settings, **changes})


@functools.lru_cache
def load(family: str, folder: Path, guidance: float = 3.0, **changes: object) -> Engine:
    return generators.load(base(family, folder, **changes), STEPS, guidance, BATCH, None)


def texts(family: str) -> tuple[str, ...]:
    return CLASSES if family == "dit" else TEXTS


def noise(generator: Engine, count: int = 3, seed: int = 7) -> torch.Tensor:
    return torch.randn(count, *generator.latent_shape, generator=torch.Generator().manual_seed(seed))


def render(generator: Engine, family: str) -> np.ndarray:
    conditions = generator.encode(texts(family))
    return generator.decode(generator.denoise(noise(generator), conditions, 0, STEPS).latents)


def stock_sdxl(folder: Path, latents: torch.Tensor, guidance: float) -> np.ndarray:
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": HEIGHT_PX, "width": WIDTH_PX, "guidance_scale": guidance}
    return pipeline(list(TEXTS), **size, num_inference_steps=STEPS, latents=latents, output_type="np").images


def stock_pixart(folder: Path, latents: torch.Tensor, guidance: float) -> np.ndarray:
    pipeline = PixArtSigmaPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(pipeline.scheduler, DPMSolverMultistepScheduler):
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, solver_order=1)
    size = {"height": HEIGHT_PX, "width": WIDTH_PX, "guidance_scale": guidance, "max_sequence_length": T5_TOKENS}
    way = {"use_resolution_binning": False, "clean_caption": False}
    return pipeline(list(TEXTS), **size, **way, num_inference_steps=STEPS, latents=latents, output_type="np").images


def stock_dit(folder: Path, latents: torch.Tensor, guidance: float, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    pipeline = DiTPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    monkeypatch.setattr("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda **_: latents)
    return pipeline([1, 0, 2], guidance_scale=guidance, num_inference_steps=STEPS, output_type="np").images


def stock(family: str, folder: Path, latents: torch.Tensor, guidance: float, patch: pytest.MonkeyPatch) -> np.ndarray:
    if family == "dit":
        return stock_dit(folder, latents, guidance, patch) * 255
    return {"sdxl": stock_sdxl, "pixart": stock_pixart}[family](folder, latents, guidance) * 255


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("family", GUIDED)
def test_the_loop_makes_the_stock_pipelines_images(
    folders: dict[str, Path], family: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load(family, folders[family], guidance)
    expected = stock(family, folders[family], noise(generator), guidance, monkeypatch)
    ours = render(generator, family)
    assert ours.shape == expected.shape and ours.dtype == np.uint8
    assert np.abs(ours - expected).max() < 0.6, "more than rounding apart"
    assert np.ptp(expected) > 50, "images so flat that anything would equal them"
    assert np.abs(expected[0] - expected[1]).max() > 3


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(clip_sample=False, set_alpha_to_one=False, beta_schedule="scaled_linear"),
        DDIMScheduler(clip_sample=False, prediction_type="v_prediction", timestep_spacing="trailing"),
        LITTLE_NOISE,
        EulerDiscreteScheduler(prediction_type="v_prediction", use_karras_sigmas=True),
        EulerDiscreteScheduler(final_sigmas_type="sigma_min"),
        DPMSolverMultistepScheduler(timestep_spacing="leading", steps_offset=1),
    ],
    ids=["ddim", "ddim-v", "euler-trailing", "euler-v-karras", "euler-sigma-min", "dpm"],
)
def test_every_deterministic_scheduler_steps_as_its_own_class_does(
    folders: dict[str, Path], scheduler: Any, tmp_path: Path
) -> None:
    pipeline = PixArtSigmaPipeline.from_pretrained(folders["pixart"])
    pipeline.scheduler = scheduler
    pipeline.save_pretrained(tmp_path)
    generator = load("pixart", tmp_path)
    expected = stock_pixart(tmp_path, noise(generator), 3.0) * 255
    assert np.abs(render(generator, "pixart") - expected).max() < 0.6
    done = generator.denoise(noise(generator), generator.encode(TEXTS), 2, STEPS)
    assert torch.equal(done.clean, done.latents)


def test_a_stochastic_scheduler_and_one_that_clips_are_refused() -> None:
    with pytest.raises(WeightsError, match="EulerAncestral"):
        diffusion_levels(EulerAncestralDiscreteScheduler(), STEPS)
    with pytest.raises(WeightsError, match="clips"):
        diffusion_levels(DDIMScheduler(), STEPS)
    with pytest.raises(WeightsError, match="sample"):
        diffusion_levels(DDIMScheduler(clip_sample=False, prediction_type="sample"), STEPS)


@pytest.mark.parametrize("family", GUIDED)
def test_guidance_costs_a_second_evaluation_that_is_counted(folders: dict[str, Path], family: str) -> None:
    for guidance, each in ((3.0, 2), (1.0, 1)):
        generator = load(family, folders[family], guidance)
        conditions = generator.encode(texts(family))
        before = generator.nfe
        generator.denoise(noise(generator), conditions, 0, 3)
        assert generator.nfe_per_forward == each
        assert generator.nfe - before == 3 * 3 * each


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", MAKERS)
def test_an_image_does_not_depend_on_its_neighbours_or_place(
    folders: dict[str, Path], family: str, precision: str
) -> None:
    generator = load(family, folders[family], precision=precision, decode_batch=3)
    conditions, latents = generator.encode(texts(family)), noise(generator)
    together = generator.denoise(latents, conditions, 0, STEPS)
    images = generator.decode(together.latents)
    for row in range(3):
        alone = generator.denoise(
            latents[row : row + 1], generator.encode(texts(family)[row : row + 1]), 0, STEPS
        ).latents
        assert torch.equal(alone[0], together.latents[row])
        assert np.array_equal(generator.decode(alone)[0], images[row])
    order = [2, 0]
    turned = generator.denoise(latents[order], conditions.take(order), 0, STEPS).latents
    assert torch.equal(turned, together.latents[order])
    assert np.array_equal(generator.decode(turned), images[order])


@pytest.mark.parametrize("family", MAKERS)
def test_stopping_on_the_way_changes_nothing(folders: dict[str, Path], family: str) -> None:
    generator = load(family, folders[family])
    conditions, latents = generator.encode(texts(family)), noise(generator)
    whole = generator.denoise(latents, conditions, 0, STEPS)
    halfway = generator.denoise(latents, conditions, 0, 2)
    assert torch.equal(generator.denoise(halfway.latents, conditions, 2, STEPS).latents, whole.latents)
    assert torch.equal(whole.clean, whole.latents)
    assert not torch.equal(halfway.clean, halfway.latents)


@pytest.mark.parametrize("family", MAKERS)
def test_noised_latents_have_the_law_of_the_earlier_step(folders: dict[str, Path], family: str) -> None:
    generator = load(family, folders[family])
    levels = generator.family.levels
    clean = torch.full((400, *generator.latent_shape), 0.5)
    first, second = noise(generator, 400, 1), noise(generator, 400, 2)
    for late, early in ((3, 1), (STEPS, 2), (2, 0)):
        latents = generator.noised(levels.alphas[late] * clean + levels.sigmas[late] * first, late, early, second)
        scale = levels.initial_scale if early == 0 else 1.0
        assert (latents.mean() * scale).item() == pytest.approx(levels.alphas[early] * 0.5, abs=0.01)
        assert (latents.std() * scale).item() == pytest.approx(levels.sigmas[early], rel=0.02)


@pytest.mark.parametrize("family", MAKERS)
def test_pixels_are_the_image_with_a_gradient_that_is_counted(folders: dict[str, Path], family: str) -> None:
    generator = load(family, folders[family])
    assert isinstance(generator, Differentiable)
    conditions = generator.encode(texts(family)[:1])
    reached = generator.denoise(noise(generator, 1), conditions, 0, 2).latents
    before = generator.nfe
    leaf = reached.clone().requires_grad_()
    pixels = generator.pixels(leaf, conditions, 2)
    assert generator.nfe - before == 2 * generator.nfe_per_forward * (1 + BACKWARD_FORWARDS)
    image = generator.decode(generator.denoise(reached, conditions, 2, STEPS).latents)[0]
    assert np.abs(pixels[0].permute(1, 2, 0).detach().numpy() * 255 - image).max() < 0.6
    pixels.mean().backward()
    assert leaf.grad is not None
    step = 0.5 * leaf.grad / leaf.grad.norm()
    with torch.no_grad():
        up, down = (generator.pixels(reached + sign * step, conditions, 2).mean() for sign in (1, -1))
    assert ((up - down) / (2 * step.norm())).item() == pytest.approx(leaf.grad.norm().item(), rel=0.1)


def test_back_at_the_start_latents_are_noise_of_the_samplers_scale() -> None:
    levels = diffusion_levels(LITTLE_NOISE, STEPS)
    drawn = torch.Generator().manual_seed(3)
    noise, fresh = torch.randn(2, 100_000, generator=drawn)
    latents = levels.noised(levels.sigmas[1] * noise, 1, 0, fresh) * levels.initial_scale
    assert levels.initial_scale < 0.9
    assert latents.std().item() == pytest.approx(levels.sigmas[0], rel=0.01)


def test_noise_is_only_added_backwards(folders: dict[str, Path]) -> None:
    generator = load("sdxl", folders["sdxl"])
    for late, early in ((1, 1), (1, 2), (STEPS + 1, 0), (1, -1)):
        with pytest.raises(ValueError, match="step"):
            generator.noised(noise(generator), late, early, noise(generator))


@pytest.mark.parametrize("family", MAKERS)
def test_a_repeated_text_is_encoded_once(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load(family, folders[family], guidance=1.0)
    first, second, _ = texts(family)
    once = generator.encode([first, second])
    seen: list[list[str]] = []
    encode: Callable[[list[str]], Any] = generator.family.encode
    monkeypatch.setattr(generator.family, "encode", lambda some: (seen.append(some), encode(some))[1])
    many = generator.encode([first, second] * 9)
    assert len(seen) == 1 and len(many) == 18
    for name, one in once.rows.items():
        assert torch.equal(many.rows[name][16], one[0])


@pytest.mark.parametrize("settings", SEARCHES, ids=lambda settings: settings.algorithm)
@pytest.mark.parametrize("family", MAKERS)
def test_every_search_runs_on_every_family(folders: dict[str, Path], family: str, settings: Any) -> None:
    generator = load(family, folders[family])
    prompts = [search.Prompt(index, text, text) for index, text in enumerate(texts(family)[:2])]
    before = generator.nfe
    found = search.search(generator, FakeVerifier(), prompts, settings, seed=0, attempt=0, batch=BATCH)
    assert all(one.kept is not None for one in found)
    later = sum(one.finished_later.nfe for one in found if one.finished_later is not None)
    assert sum(one.nfe for one in found) + later == generator.nfe - before
    assert all(one.nfe <= search.nfe_per_image(settings, STEPS, generator.nfe_per_forward) for one in found)


def test_dit_reads_names_and_numbers_and_names_what_is_alike(folders: dict[str, Path]) -> None:
    generator = load("dit", folders["dit"])
    assert generator.encode(["umbrella", "1", "tench", "Tinca tinca"]).rows["label"].tolist() == [1, 1, 0, 0]
    for text in ("umbrela", "1000", "An INFRARED photo of an umbrella"):
        with pytest.raises(SettingsError, match="no class") as caught:
            generator.encode([text])
        assert "umbrella" in caught.value.fix or text == "1000"


def test_sizes_that_do_not_fit_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="16 x 16"):
        load("dit", folders["dit"], width_px=24)
    with pytest.raises(SettingsError, match="300"):
        load("pixart", folders["pixart"], max_sequence_length=301)
    pipeline = loading.load_pipeline(base("sdxl", folders["sdxl"]))
    pipeline.vae_scale_factor = 8
    with pytest.raises(SettingsError, match=r"width_px = 24 .* multiples of 16"):
        generators.FAMILIES["StableDiffusionXLPipeline"](
            pipeline, base("sdxl", folders["sdxl"]), steps=STEPS, guidance=1.0
        )


def test_another_unet_takes_the_place_of_the_bases(folders: dict[str, Path], tmp_path: Path) -> None:
    tiny_unet(seed=2).save_pretrained(tmp_path)
    plain, other = (render(load("sdxl", folders["sdxl"], denoiser=folder), "sdxl") for folder in ("", str(tmp_path)))
    assert np.abs(plain.astype(int) - other).max() > 5
    with pytest.raises(WeightsError, match=r"base\.denoiser"):
        load("sdxl", folders["sdxl"], denoiser=str(tmp_path / "none"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_lora_of_the_bases_own_acts_as_in_the_stock_pipeline(
    folders: dict[str, Path], tmp_path: Path, precision: str
) -> None:
    unet = tiny_unet()
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v", "conv1"]))
    drawn = torch.Generator().manual_seed(1)
    for name, one in unet.named_parameters():
        if "lora_" in name:
            one.data = torch.randn(one.shape, generator=drawn) * 0.5
    StableDiffusionXLPipeline.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(unet))
    pipeline = StableDiffusionXLPipeline.from_pretrained(folders["sdxl"])
    pipeline.load_lora_weights(tmp_path)
    x = torch.randn(2, 4, 8, 12, generator=drawn)
    rows = {"prompt": torch.randn(2, 40, 32, generator=drawn), "pooled": torch.randn(2, 16, generator=drawn)}
    outputs = []
    for settings in ({"lora": str(tmp_path)}, {}):
        generator = load("sdxl", folders["sdxl"], precision=precision, **settings)
        dtype = generator.family.denoiser.dtype
        outputs.append(generator.family.forward(x, torch.tensor([9.0, 9.0]), {k: v.to(dtype) for k, v in rows.items()}))
    sizes = torch.tensor([[HEIGHT_PX, WIDTH_PX, 0, 0, HEIGHT_PX, WIDTH_PX]] * 2)
    added = {"text_embeds": rows["pooled"], "time_ids": sizes}
    expected = pipeline.unet(x, 9, encoder_hidden_states=rows["prompt"], added_cond_kwargs=added).sample
    assert torch.allclose(outputs[0], expected, atol=1e-4 if precision == "fp32" else 0.1)
    assert (outputs[0] - outputs[1]).abs().max() > 0.2


@pytest.mark.parametrize("family", ["flux", "dit"])
def test_compiling_is_asked_for_where_there_are_blocks_or_else_of_the_whole(
    folders: dict[str, Path], family: str
) -> None:
    network: Any = load(family, folders[family], compile=True).family.denoiser
    compiled = {type(one).__name__ for one in network.modules() if one._compiled_call_impl is not None}
    assert compiled == {"flux": set(network._repeated_blocks), "dit": {"DiTTransformer2DModel"}}[family]


def test_an_adapter_is_only_trained_on_flux(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="FluxPipeline only"):
        loading.load_trainable(base("sdxl", folders["sdxl"]))
    with pytest.raises(SettingsError, match=r"base\.lora"):
        loading.load_trainable(base("flux", folders["flux"], lora="somewhere"))


def test_a_family_without_loras_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="DiTPipeline takes no LoRA"):
        load("dit", folders["dit"], lora=str(tmp_path))


def test_a_pipeline_of_no_family_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "KolorsPipeline"}')
    with pytest.raises(WeightsError, match="KolorsPipeline") as caught:
        loading.load_pipeline(BaseSettings(model=str(tmp_path)))
    assert "FluxPipeline" in caught.value.fix


def test_quantising_without_its_package_says_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="torchao"):
        loading.quantization(base("flux", folders["flux"], quantize="int8"))


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_int8_weights_make_nearly_the_same_images(folders: dict[str, Path], family: str) -> None:
    pytest.importorskip("torchao")
    plain, small = (load(family, folders[family], precision="bf16", quantize=how) for how in ("none", "int8"))
    difference = np.abs(render(plain, family).astype(int) - render(small, family))
    assert 0 < difference.mean() < 3
    conditions, latents = small.encode(TEXTS), noise(small)
    together = small.denoise(latents, conditions, 0, STEPS).latents
    assert torch.equal(small.denoise(latents[1:2], conditions.take([1]), 0, STEPS).latents[0], together[1])
