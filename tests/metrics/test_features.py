from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import compute_fid, get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

from irgen.errors import IrgenError, SettingsError, WeightsError
from irgen.metrics import nets, proxy
from irgen.metrics.features import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    FeatureNet,
    features,
    load,
    resized,
)
from irgen.metrics.frechet import Statistics, frechet_distance
from irgen.miniature import scenenet


class TinyInception(torch.nn.Module):
    """What clean-fid asks of its TorchScript file: `layers`, from a normalised image to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 9, stride=9), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten()
        )
        with torch.no_grad():
            self.layers[0].weight.normal_(0, 0.1, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / nets.INCEPTION_FILE
    torch.jit.script(TinyInception()).save(str(path))
    monkeypatch.setattr(nets, "inception_path", lambda: path)
    return path


def mean_net(batch: torch.Tensor) -> torch.Tensor:
    return torch.cat([batch.mean((2, 3)), batch.std((2, 3))], 1)


NET = FeatureNet("means", (12, 10), mean_net)


def pictures(count: int, seed: int = 0, height: int = 40, width: int = 48) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def folder_of(images: list[np.ndarray], path: Path) -> Path:
    path.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(path / f"{number:03d}.png")
    return path


def test_inception_features_are_cleanfids(inception: Path, tmp_path: Path) -> None:
    images = pictures(3)
    ours = features(images, load("inception", inception), total=3, batch=2)
    net = InceptionV3W(str(inception.parent), download=False)
    folder = folder_of(images, tmp_path / "images")
    cpu = torch.device("cpu")
    theirs = get_folder_features(str(folder), net, num_workers=0, device=cpu, mode="clean", verbose=False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours.dtype == np.float64 and ours.shape == (3, 2048) and ours.std() > 0.01


def test_the_distance_is_the_one_that_cleanfid_computes_with_the_same_net(tmp_path: Path) -> None:
    sides = {name: pictures(20, seed) for seed, name in enumerate("ab")}
    sides["b"] = [image // 2 for image in sides["b"]]
    net = FeatureNet("means", (299, 299), mean_net)
    ours = frechet_distance(*(Statistics.of(features(images, net, total=20)) for images in sides.values()))
    folders = [str(folder_of(images, tmp_path / name)) for name, images in sides.items()]
    options = {"num_workers": 0, "device": torch.device("cpu"), "use_dataparallel": False, "verbose": False}
    theirs = compute_fid(*folders, custom_feat_extractor=mean_net, **options)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_features_do_not_depend_on_the_batch_size() -> None:
    images = pictures(7)
    one, three, many = (features(images, NET, total=7, batch=size) for size in (1, 3, 32))
    np.testing.assert_allclose(three, one, rtol=1e-6)
    np.testing.assert_allclose(many, one, rtol=1e-6)


def test_images_of_any_size_are_resized_to_the_nets_own() -> None:
    sizes: list[torch.Size] = []
    net = FeatureNet("spy", (12, 10), lambda batch: sizes.append(batch.shape) or mean_net(batch))
    features([*pictures(1, height=100, width=30), *pictures(1, height=9, width=64)], net, total=2, batch=4)
    assert sizes == [(4, 3, 10, 12)]


def test_gray_is_put_into_all_three_channels() -> None:
    gray = pictures(1)[0][..., 0]
    flat, one, three = features([gray, gray[..., None], np.stack([gray] * 3, -1)], NET, total=3)
    np.testing.assert_array_equal(flat, three)
    np.testing.assert_array_equal(one, three)
    assert flat[0] == flat[2]


def test_equal_channels_are_resized_as_cleanfid_resizes_each() -> None:
    rng = np.random.default_rng(0)
    gray = np.repeat(rng.integers(0, 256, (37, 53, 1), np.uint8), 3, axis=2)
    tinted = gray.copy()
    tinted[..., 2] //= 2
    theirs = make_resizer("PIL", False, "bicubic", (31, 17))
    for image in (gray, tinted):
        assert np.array_equal(resized(image, (31, 17)), theirs(image))


def test_an_image_of_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        features([np.zeros((4, 4, 3))], NET, total=1)


def test_a_net_that_gives_nan_is_refused() -> None:
    net = FeatureNet("broken", (12, 10), lambda batch: mean_net(batch) / 0 * 0)
    with pytest.raises(IrgenError, match="2 of 2 feature rows are not finite"):
        features(pictures(2), net, total=2)


def test_auto_means_inception_only_where_its_weights_lie(
    inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "scenenet.safetensors"
    shipped.touch()
    monkeypatch.setattr(nets, "scenenet_path", lambda: shipped)
    assert nets.resolve("auto") == ("inception", inception)
    inception.unlink()
    assert nets.resolve("auto") == ("scenenet", shipped)
    shipped.unlink()
    with pytest.raises(WeightsError, match=str(shipped)):
        nets.resolve("auto")


def test_scenenet_sees_images_of_its_own_size_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = scenenet.SceneNet().eval()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    monkeypatch.setattr(scenenet, "WEIGHTS", tmp_path / "net.safetensors")
    height_px, width_px = scenenet.INPUT_PX
    images = pictures(2, height=height_px, width=width_px)
    ours = features(images, load("scenenet", scenenet.WEIGHTS), total=2)
    with torch.inference_mode():
        theirs = net(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert ours.shape == (2, scenenet.FEATURES)


def test_the_shipped_net_is_looked_for_where_it_is_loaded_from() -> None:
    assert nets.scenenet_path() == scenenet.WEIGHTS


def test_missing_inception_weights_are_named_with_their_place(inception: Path) -> None:
    inception.unlink()
    with pytest.raises(WeightsError, match=str(inception)) as caught:
        nets.resolve("inception")
    assert "never downloads" in caught.value.fix


@pytest.mark.parametrize("damage", [b"", b"not a network"])
def test_damaged_inception_weights_are_named(inception: Path, damage: bytes) -> None:
    inception.write_bytes(damage)
    with pytest.raises(WeightsError, match="is not the Inception"):
        load("inception", inception)


@pytest.fixture
def dinov2(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path / "dinov2")
    return tmp_path / "dinov2"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=12,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def normalised(images: list[np.ndarray], mean: tuple[float, ...], deviation: tuple[float, ...]) -> torch.Tensor:
    pixels = (np.stack(images) / 255 - mean) / deviation
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def test_dinov2_features_are_its_class_tokens(dinov2: Path) -> None:
    images = pictures(2, height=224, width=224)
    net = load(*nets.resolve(f"dinov2:{dinov2}"))
    ours = features(images, net, total=2)
    with torch.inference_mode():
        pixels = normalised(images, IMAGENET_MEAN, IMAGENET_DEVIATION)
        theirs = Dinov2Model.from_pretrained(dinov2)(pixel_values=pixels).last_hidden_state[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert (net.dimensions, net.independent) == (16, True) == (ours.shape[1], True)


def test_clip_features_are_its_image_embeddings_and_it_is_not_independent(clip: Path) -> None:
    images = pictures(2, height=32, width=32)
    net = load(*nets.resolve(f"clip:{clip}"))
    ours = features(images, net, total=2)
    with torch.inference_mode():
        pixels = normalised(images, CLIP_MEAN, CLIP_DEVIATION)
        theirs = CLIPVisionModelWithProjection.from_pretrained(clip)(pixel_values=pixels).image_embeds
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert (net.dimensions, net.independent) == (12, False) == (ours.shape[1], False)


def test_a_net_of_another_architecture_or_with_weights_missing_is_refused(dinov2: Path, clip: Path) -> None:
    with pytest.raises(WeightsError, match="Dinov2Model"):
        load("dinov2", clip)
    file = dinov2 / "model.safetensors"
    weights = load_file(file)
    del weights["layernorm.bias"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks weights of Dinov2Model, layernorm\.bias"):
        load("dinov2", dinov2)


def test_pickled_weights_are_never_read(dinov2: Path) -> None:
    weights = load_file(dinov2 / "model.safetensors")
    torch.save(weights, dinov2 / "pytorch_model.bin")
    (dinov2 / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded as Dinov2Model"):
        load("dinov2", dinov2)


def test_a_proxy_net_sees_images_as_it_was_taught(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = scenenet.SceneNet().eval()
    proxy.save(net, tmp_path, {})
    frames = np.random.default_rng(0).integers(0, 256, (2, *scenenet.INPUT_PX), dtype=np.uint8)
    loaded = load(*nets.resolve(f"proxy:{tmp_path}"))
    ours = features(list(frames), loaded, total=2)
    with torch.inference_mode():
        theirs = net(torch.from_numpy(frames / 255).float()[:, None].expand(-1, 3, -1, -1))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert loaded.name == "proxy" and loaded.independent


@pytest.mark.parametrize("name", ["scenenet", "random-conv"])
def test_what_is_shipped_needs_nothing_else(name: str) -> None:
    net = load(*nets.resolve(name))
    found = features(pictures(3), net, total=3)
    assert found.shape == (3, net.dimensions) and net.independent and net.digest
    assert found.std(axis=0).max() > 0


def test_a_nets_identity_follows_its_weights(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        torch.manual_seed(seed)
        proxy.save(scenenet.SceneNet(), folder, {})
    first, same, other = (nets.resolve(f"proxy:{folder}") for folder in folders)
    assert first.identity == same.identity != other.identity
    assert load(*first).digest == first.digest


@pytest.mark.parametrize("name", ["vgg", "", "proxy:", "proxy", "dinov2:", "scenenet:x"])
def test_an_unknown_name_lists_what_there_is(name: str) -> None:
    with pytest.raises(SettingsError, match="there is no such net") as caught:
        nets.resolve(name)
    assert all(known in caught.value.fix for known in nets.NAMES)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("dinov2", "hf download facebook/dinov2-large"),
        ("clip:someone/else", "hf download someone/else"),
        ("proxy:{folder}", "irgen feature-net FRAMES"),
        ("clip:{folder}", "folder of transformers"),
    ],
)
def test_a_net_that_is_not_there_is_named_with_the_way_to_get_it(
    name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError) as caught:
        nets.resolve(name.format(folder=tmp_path))
    assert name.format(folder=tmp_path) in caught.value.what and way in caught.value.fix
