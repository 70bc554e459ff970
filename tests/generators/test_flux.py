"""The step loop against the stock pipeline, on a random FLUX of the same architecture."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from irgen import generators
from irgen.errors import SettingsError, WeightsError
from irgen.generators import Engine, lora
from irgen.generators.loading import ADAPTER_FILE
from irgen.settings import BaseSettings
from tests.tiny_flux import HEIGHT_PX, T5_TOKENS, WIDTH_PX, tiny_flux

STEPS, BATCH = 4, 3
TEXTS = ("An INFRARED photo", "a dog", "two near", "x", "y z")


@pytest.fixture(scope="module", params=[True, False], ids=["guidance", "no-guidance"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("flux"), guidance_embeds=request.param)


@pytest.fixture(scope="module")
def guided_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, guided_folder: Path) -> Path:
    """A random adapter that changes the images, with alpha unlike its rank."""
    out = tmp_path_factory.mktemp("adapter")
    transformer = FluxTransformer2DModel.from_pretrained(guided_folder, subfolder="transformer")
    transformer.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=["attn.to_q", "proj_out", "x_embedder"]))
    generator = torch.Generator().manual_seed(1)
    state = {
        name: torch.randn(one.shape, generator=generator) * 0.3
        for name, one in transformer.named_parameters()
        if "lora_" in name
    }
    layers = {name.replace(".default", ""): one for name, one in state.items()}
    metadata = {"r": 4, "lora_alpha": 8, "target_modules": sorted({name.partition(".lora_")[0] for name in layers})}
    FluxPipeline.save_lora_weights(out, layers, transformer_lora_adapter_metadata=metadata)
    return out


def base(folder: Path, **changes: object) -> BaseSettings:
    settings = {"height_px": HEIGHT_PX, "width_px": WIDTH_PX, "max_sequence_length": T5_TOKENS, "precision": "fp32"}
    return BaseSettings.model_validate({"model": str(folder), **settings, **changes})


def load(folder: Path, adapter: Path | None = None, guidance: float = 3.5) -> Engine:
    return generators.load(base(folder), STEPS, guidance, BATCH, adapter)


def noise(generator: Engine, count: int = len(TEXTS)) -> torch.Tensor:
    return torch.randn(count, *generator.latent_shape, generator=torch.Generator().manual_seed(7))


def render(generator: Engine) -> np.ndarray:
    return generator.decode(generator.denoise(noise(generator), generator.encode(TEXTS), 0, STEPS).latents)


def stock_images(folder: Path, latents: torch.Tensor, adapter: Path | None = None) -> np.ndarray:
    pipeline = FluxPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipeline.load_lora_weights(adapter)
    packed = pipeline._pack_latents(latents, len(latents), *latents.shape[1:])
    size = {"height": HEIGHT_PX, "width": WIDTH_PX, "max_sequence_length": T5_TOKENS}
    made = pipeline(
        list(TEXTS), **size, num_inference_steps=STEPS, guidance_scale=3.5, latents=packed, output_type="np"
    )
    return made.images * 255


def test_the_loop_makes_the_stock_pipelines_images(folder: Path) -> None:
    generator = load(folder)
    stock = stock_images(folder, noise(generator))
    ours = render(generator)
    assert ours.shape == (len(TEXTS), HEIGHT_PX, WIDTH_PX, 3) and ours.dtype == np.uint8
    assert np.abs(ours - stock).max() < 0.51, "more than rounding apart"
    assert np.ptp(stock) > 50, "images so flat that anything would equal them"


def test_an_adapter_changes_images_as_in_the_stock_pipeline(guided_folder: Path, adapter: Path) -> None:
    generator = load(guided_folder, adapter)
    ours = render(generator)
    assert np.abs(ours - stock_images(guided_folder, noise(generator), adapter)).max() < 0.6
    assert np.abs(ours - stock_images(guided_folder, noise(generator))).max() > 20


def test_in_bf16_an_adapter_stays_a_branch_of_its_own(guided_folder: Path, adapter: Path) -> None:
    settings = base(guided_folder, precision="bf16")
    generator = generators.load(settings, STEPS, 3.5, BATCH, adapter)
    assert "lora_A" in str(list(generator.family.denoiser.state_dict()))
    plain = generators.load(settings, STEPS, 3.5, BATCH, None)
    assert np.abs(render(generator).astype(int) - render(plain)).max() > 20
    assert np.abs(render(generator).astype(int) - render(load(guided_folder, adapter))).mean() < 3


def test_guidance_counts_only_where_it_is_embedded(tmp_path: Path, guided_folder: Path) -> None:
    plain = tiny_flux(tmp_path, guidance_embeds=False)
    assert np.array_equal(render(load(plain, guidance=1.0)), render(load(plain, guidance=9.0)))
    assert not np.array_equal(render(load(guided_folder, guidance=1.0)), render(load(guided_folder, guidance=9.0)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_image_does_not_depend_on_its_neighbours_or_place(
    guided_folder: Path, adapter: Path, precision: str
) -> None:
    generator = generators.load(base(guided_folder, precision=precision), STEPS, 3.5, BATCH, adapter)
    conditions, latents = generator.encode(TEXTS), noise(generator)
    together = generator.denoise(latents, conditions, 0, STEPS).latents
    for row in range(len(TEXTS)):
        alone = generator.denoise(latents[row : row + 1], generator.encode(TEXTS[row : row + 1]), 0, STEPS).latents
        assert torch.equal(alone[0], together[row])
    order = [4, 2, 0]
    turned = generator.denoise(latents[order], conditions.take(order), 0, STEPS).latents
    assert torch.equal(turned, together[order])
    assert np.array_equal(generator.decode(turned)[1], generator.decode(together)[2])


def test_stopping_on_the_way_changes_nothing(guided_folder: Path) -> None:
    generator = load(guided_folder)
    conditions, latents = generator.encode(TEXTS), noise(generator)
    whole = generator.denoise(latents, conditions, 0, STEPS)
    halfway = generator.denoise(latents, conditions, 0, 2)
    assert torch.equal(generator.denoise(halfway.latents, conditions, 2, STEPS).latents, whole.latents)
    assert torch.equal(whole.clean, whole.latents)
    assert not torch.equal(halfway.clean, halfway.latents)


def test_the_clean_estimate_is_a_straight_line_to_sigma_zero(guided_folder: Path) -> None:
    generator = load(guided_folder)
    conditions, latents = generator.encode(TEXTS), noise(generator)
    first = generator.denoise(latents, conditions, 0, 1)
    sigma, next_sigma = generator.family.levels.sigmas[:2]
    v = (first.latents - latents) / (next_sigma - sigma)
    assert torch.allclose(first.clean, latents - sigma * v, atol=1e-5)


def test_only_real_rows_are_counted(guided_folder: Path) -> None:
    generator = load(guided_folder)
    conditions = generator.encode(TEXTS)
    generator.denoise(noise(generator), conditions, 0, 3)
    assert generator.nfe == 5 * 3
    generator.denoise(noise(generator, 1), conditions.take([0]), 3, 4)
    assert generator.nfe == 5 * 3 + 1


def test_no_rows_are_no_images(guided_folder: Path) -> None:
    generator = load(guided_folder)
    done = generator.denoise(noise(generator, 0), generator.encode(TEXTS).take([]), 0, STEPS)
    assert done.latents.shape == (0, *generator.latent_shape)
    assert generator.decode(done.latents).shape == (0, HEIGHT_PX, WIDTH_PX, 3)


def test_latents_that_are_not_finite_are_black(guided_folder: Path) -> None:
    generator = load(guided_folder)
    latents = noise(generator, 2)
    latents[1] = float("nan")
    images = generator.decode(latents)
    assert images[0].std() > 0 and not images[1].any()


def test_a_prompt_that_is_cut_is_said_once_in_our_words(
    guided_folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    load(guided_folder).encode(["short", "very " * T5_TOKENS, "long " * T5_TOKENS])
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"2 of 3 prompts have more than {T5_TOKENS} T5 tokens: their ends are not read"
    ]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (2, 2), (3, STEPS + 1)])
def test_steps_out_of_range_are_refused(guided_folder: Path, first: int, last: int) -> None:
    generator = load(guided_folder)
    with pytest.raises(ValueError, match="steps"):
        generator.denoise(noise(generator), generator.encode(TEXTS), first, last)


def test_a_size_that_does_not_fit_is_refused_with_one_that_does(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path)
    eighth = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4,) * 4,
        norm_num_groups=4,
        layers_per_block=1,
    )
    eighth.save_pretrained(folder / "vae")
    with pytest.raises(SettingsError, match=r"width_px = 24 .* multiples of 16") as caught:
        load(folder)
    assert "16 or 32" in caught.value.fix


def test_weights_that_lack_tensors_of_their_config_are_refused(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path)
    for part, name in (("text_encoder_2", "model"), ("vae", "diffusion_pytorch_model")):
        path = folder / part / f"{name}.safetensors"
        whole = path.read_bytes()
        state = load_file(path)
        lost = sorted(state)[0]
        save_file({key: one for key, one in state.items() if key != lost}, path, metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=f"{part}.* lack 1 tensors"):
            load(folder)
        path.write_bytes(whole)


def test_a_damaged_weight_file_is_named(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path)
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        load(folder)
    assert str(folder) in caught.value.what


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path)
    path = folder / "text_encoder_2" / "model.safetensors"
    torch.save(load_file(path), folder / "text_encoder_2" / "pytorch_model.bin")
    path.unlink()
    with pytest.raises(WeightsError, match=r"text_encoder_2/model\.safetensors"):
        load(folder)


def test_an_adapter_of_another_base_is_refused(guided_folder: Path, adapter: Path, tmp_path: Path) -> None:
    state = load_file(adapter / ADAPTER_FILE)
    name = next(iter(state))
    save_file({**state, name: torch.zeros(4, 99)}, tmp_path / ADAPTER_FILE)
    with pytest.raises(WeightsError, match="another one"):
        load(guided_folder, tmp_path)


def test_an_adapter_that_is_not_finite_is_refused(guided_folder: Path, adapter: Path, tmp_path: Path) -> None:
    state = load_file(adapter / ADAPTER_FILE)
    name = next(iter(state))
    save_file({**state, name: state[name] * float("nan")}, tmp_path / ADAPTER_FILE)
    with pytest.raises(WeightsError, match="not finite"):
        load(guided_folder, tmp_path)


def test_an_adapter_that_is_not_there_is_named(guided_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=str(tmp_path / ADAPTER_FILE)):
        load(guided_folder, tmp_path)


def test_flux_dev_has_its_size_and_its_adapter_layers() -> None:
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
    assert sum(one.numel() for one in transformer.parameters()) == 11_901_408_320
    attention = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
    assert len(lora.targets(transformer, attention)) == 19 * 4 + 38 * 3
    assert len(lora.targets(transformer, ("proj_out",))) == 38 + 1


@pytest.mark.parametrize(
    ("first", "last", "rows", "message"),
    [
        (2, 2, 2, "steps 2 to 2 of 4"),
        (3, 1, 2, "steps 3 to 1 of 4"),
        (0, 5, 2, "steps 0 to 5 of 4"),
        (-1, 2, 2, "steps -1 to 2 of 4"),
        (0, 2, 3, "2 latents, 3 conditions"),
    ],
)
def test_steps_that_there_are_not_and_rows_that_do_not_match_are_refused_unspent(
    guided_folder: Path, first: int, last: int, rows: int, message: str
) -> None:
    generator = load(guided_folder)
    with pytest.raises(ValueError, match=message):
        generator.denoise(noise(generator, 2), generator.encode(TEXTS[:rows]), first, last)
    assert generator.nfe == 0
