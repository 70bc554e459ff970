"""The memory plan, and the published bases at their true size, without a weight: torch's meta device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F

from irgen.errors import SettingsError
from irgen.generators import FAMILIES, Engine, lora, memory
from irgen.generators.sizes import PUBLISHED
from irgen.settings import AdapterSettings, BaseSettings
from tests.tiny_families import DIT_SIDE_PX, HEIGHT_PX, WIDTH_PX, tiny_dit, tiny_sdxl
from tests.tiny_flux import T5_TOKENS, tiny_flux

FLUX, SDXL, PIXART, DIT = (
    "black-forest-labs/FLUX.1-dev",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "PixArt-alpha/PixArt-Sigma-XL-2-512-MS",
    "facebook/DiT-XL-2-256",
)
PARAMETERS = {
    FLUX: {"transformer": 11_901_408_320, "text_encoder_2": 4_762_310_656, "text_encoder": 123_060_480},
    SDXL: {"unet": 2_567_463_684, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
    PIXART: {"transformer": 610_856_096, "text_encoder": 4_762_310_656},
    # The paper counts 675 M; diffusers keeps the same embedding of time and class once more in each block.
    DIT: {"transformer": 749_826_464},
}


def base(model: str, **changes: Any) -> BaseSettings:
    own: dict[str, Any] = {PIXART: {"max_sequence_length": 300}, DIT: {"height_px": 256, "width_px": 256}}.get(
        model, {}
    )
    return BaseSettings.model_validate({"model": model, "precision": "bf16", **own, **changes})


@pytest.fixture(scope="module")
def published() -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def get(model: str) -> Any:
        if model not in made:
            made[model] = memory.empty_pipeline(*PUBLISHED[model], torch.bfloat16)
        return made[model]

    return get


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("model", PARAMETERS)
def test_published_bases_have_their_true_sizes(model: str, published: Callable[[str], Any]) -> None:
    pipeline = published(model)
    counted = {name: sum(one.numel() for one in getattr(pipeline, name).parameters()) for name in PARAMETERS[model]}
    assert counted == PARAMETERS[model]


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("model", PARAMETERS)
def test_shapes_go_through_a_whole_step_and_a_decoding(
    model: str, guidance: float, published: Callable[[str], Any]
) -> None:
    settings = base(model)
    family = FAMILIES[PUBLISHED[model][0]](published(model), settings, steps=28, guidance=guidance)
    engine = Engine(family, batch_size=2)
    channels = 16 if model == FLUX else 4
    assert engine.latent_shape == (channels, settings.height_px // 8, settings.width_px // 8)
    assert memory.empty_step(engine, published(model), settings, 2).shape == (2, *engine.latent_shape)
    assert memory.empty_decode(engine, 2).shape == (2, 3, settings.height_px, settings.width_px)


def test_flux_dev_has_its_adapter_layers(published: Callable[[str], Any]) -> None:
    transformer = published(FLUX).transformer
    assert len(lora.targets(transformer, AdapterSettings().target_modules)) == 19 * 4 + 38 * 3
    assert len(lora.targets(transformer, ("proj_out",))) == 38 + 1


def test_the_verifiers_clip_has_its_true_size() -> None:
    with torch.device("meta"):
        model = open_clip.create_model("ViT-B-32", device="meta")
        features = model.encode_image(torch.empty(2, 3, 224, 224)), model.encode_text(torch.empty(2, 77).long())
    assert sum(one.numel() for one in model.parameters()) == 151_277_313
    assert [one.shape for one in features] == [(2, 512)] * 2


def test_the_plan_of_flux_dev_is_weights_activations_and_a_gib() -> None:
    plan = memory.plan(base(FLUX), 4, 3.5)
    assert plan is not None
    assert plan.weights["transformer"] == 2 * PARAMETERS[FLUX]["transformer"]
    assert plan.encoders == 2 * (PARAMETERS[FLUX]["text_encoder"] + PARAMETERS[FLUX]["text_encoder_2"])
    # The widest tensor of a single block is its MLP's and attention's output, 5 x 3072 wide.
    widest = 4 * (512 + 32 * 40) * 5 * 3072 * 2
    assert 2 * widest < plan.forward < 6 * widest
    assert plan.peak == sum(plan.weights.values()) + max(plan.forward, plan.decode) + memory.GIB
    assert plan.least == plan.peak - plan.encoders
    assert "transformer 22.2 GiB" in str(plan)


def test_a_forward_grows_with_the_batch_and_with_guidance(tmp_path: Path) -> None:
    size = {"height_px": DIT_SIDE_PX, "width_px": DIT_SIDE_PX}
    settings = base(str(tiny_dit(tmp_path)), **size)
    one, four, plain = (memory.plan(settings, *sizes) for sizes in ((1, 4.0), (4, 4.0), (1, 1.0)))
    assert one and four and plain
    assert one.forward == pytest.approx(2 * plain.forward, rel=0.1)
    assert four.forward == pytest.approx(4 * one.forward, rel=0.1)
    assert one.decode == four.decode
    quantised = memory.plan(settings.model_copy(update={"quantize": "int8", "decode_batch": 2}), 1, 4.0)
    assert quantised and quantised.weights["transformer"] == one.weights["transformer"] / 2
    assert quantised.decode == pytest.approx(2 * one.decode, rel=0.1)


def test_live_tensors_are_counted_until_they_end() -> None:
    x, weight = torch.empty(1000, device="meta"), torch.empty(10, 100, device="meta")

    def run() -> None:
        assert weight.t().shape == (100, 10)
        y = x + 1
        z = y * 2
        del y
        z.view(10, 100).add_(1)
        F.scaled_dot_product_attention(*(z.view(1, 10, 100),) * 3)

    assert memory.peak_bytes(run) == 2 * 4000


@pytest.mark.parametrize("make", [tiny_flux, tiny_sdxl])
def test_a_base_on_disk_is_planned_by_its_own_configs(make: Callable[[Path], Path], tmp_path: Path) -> None:
    settings = base(str(make(tmp_path)), height_px=HEIGHT_PX, width_px=WIDTH_PX, max_sequence_length=T5_TOKENS)
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    plan = memory.plan(settings, 2, 3.5)
    assert plan is not None
    assert 0 < plan.forward < 2**24 and 0 < plan.weights[plan.denoiser] < 2**20


def test_a_base_that_is_nowhere_has_no_plan() -> None:
    assert memory.plan(base("some-one/some-flux"), 1, 1.0) is None


def test_a_size_that_the_base_does_not_take_is_said() -> None:
    with pytest.raises(SettingsError, match="256"):
        memory.plan(base(DIT, height_px=512), 1, 1.0)
