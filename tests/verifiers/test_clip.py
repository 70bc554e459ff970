import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from irgen.errors import WeightsError
from irgen.verifiers import clip as clip_module
from irgen.verifiers.clip import Clip
from tests.tiny_clip import CAPTIONS, MODEL, tiny_clip

CPU = torch.device("cpu")


def load(model: str, pretrained: str = "") -> Clip:
    return clip_module.load(model, pretrained, CPU, torch.float32)


@pytest.mark.parametrize("own_tokenizer", [True, False])
def test_what_is_saved_loads_in_stock_open_clip(tmp_path: Path, own_tokenizer: bool) -> None:
    folder = tiny_clip(tmp_path / "base", own_tokenizer)
    clip = load(f"local-dir:{folder}")
    clip_module.save(clip, tmp_path / "saved")
    name = f"local-dir:{tmp_path / 'saved'}"
    model, transform = open_clip.create_model_from_pretrained(name)
    tokens = open_clip.get_tokenizer(name)(list(CAPTIONS))
    torch.testing.assert_close(tokens, clip.tokenizer(list(CAPTIONS)))
    with torch.no_grad():
        features = model.eval().encode_text(tokens, normalize=True)
    torch.testing.assert_close(features, clip.text_features(CAPTIONS), atol=1e-6, rtol=0)
    wide = np.zeros((16, 480, 3), np.uint8)
    wide[:, :160] = 255
    squashed = transform(Image.fromarray(wide))
    assert squashed[:, :, :7].min() > squashed[:, :, 9:].max()  # nothing at the sides is cropped away


def test_no_pickle_is_ever_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_clip(tmp_path)
    weights = open_clip.create_model(f"local-dir:{folder}").state_dict()
    torch.save(weights, folder / "open_clip_pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("pickle"))
    load(f"local-dir:{folder}")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"does not hold .*open_clip_model\.safetensors"):
        load(f"local-dir:{folder}")


def test_a_built_in_architecture_keeps_its_tags_quick_gelu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_clip(tmp_path / "tiny", own_tokenizer=False, quick_gelu=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-test.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(tmp_path / "configs")
    tag = {"hf_hub": "someone/tiny/", "quick_gelu": True, "mean": (0.4,) * 3, "std": (0.25,) * 3}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, name: tag if name == "openai" else {})
    monkeypatch.setattr(clip_module, "hf_hub_download", lambda repository, file: str(folder / file))
    clip = load("tiny-test", "openai")
    expected = load(f"local-dir:{folder}")
    torch.testing.assert_close(clip.text_features(CAPTIONS), expected.text_features(CAPTIONS), rtol=0, atol=0)
    assert clip.preprocess["mean"] == (0.4,) * 3
    clip_module.save(clip, tmp_path / "saved")
    again = load(f"local-dir:{tmp_path / 'saved'}")
    torch.testing.assert_close(again.text_features(CAPTIONS), expected.text_features(CAPTIONS), rtol=0, atol=0)


def test_a_weights_file_may_stand_for_a_tag(tmp_path: Path) -> None:
    config = tmp_path / "configs"
    config.mkdir()
    (config / "tiny-file.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(config)
    folder = tiny_clip(tmp_path / "tiny", own_tokenizer=False)
    clip = load("tiny-file", str(folder / "open_clip_model.safetensors"))
    assert clip.text_features(CAPTIONS).shape == (3, 24)
    with pytest.raises(WeightsError, match="no such file"):
        load("tiny-file", str(folder / "other.safetensors"))


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", "openai", "not an architecture"),
        ("ViT-B-32", "openia", r"not a tag of ViT-B-32\n.*openai"),
        ("ViT-B-32", "", "not a tag of ViT-B-32"),
        ("local-dir:/nowhere", "", "/nowhere does not hold"),
        ("hf-hub:someone/nothing", "", r"someone/nothing.*neither in the cache\S* .*\n.*hf download"),
        ("ViT-B-32", "openai", r"neither in the cache .*\n.*hf download timm/vit_base_patch32_clip_224\.openai"),
    ],
)
def test_missing_weights_are_named_with_the_way_to_get_them(
    model: str, pretrained: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(repository: str, file: str) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(clip_module, "hf_hub_download", offline)
    with pytest.raises(WeightsError, match=f"(?s){message}"):
        load(model, pretrained)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path)
    save_file({"visual.proj": torch.zeros(2, 2)}, folder / "open_clip_model.safetensors")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(f"local-dir:{folder}")


def test_a_cut_weights_file_is_refused(tmp_path: Path) -> None:
    weights = tiny_clip(tmp_path) / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load(f"local-dir:{tmp_path}")


def test_resizing_squashes_and_stays_in_range(clip: Clip) -> None:
    checkers = np.indices((80, 72)).sum(0) % 2 * 255
    images = np.repeat(checkers[None, ..., None], 3, axis=3).astype(np.uint8)
    pixels = clip.resize(images)
    assert pixels.shape == (1, 3, 16, 24)
    assert pixels.min() >= 0 and pixels.max() <= 1
    # Antialiased: the middle of a fine checkerboard is gray, not a pattern of its own.
    torch.testing.assert_close(pixels[..., 4:-4, 4:-4], torch.full((1, 3, 8, 16), 0.5), atol=0.02, rtol=0)


def test_captions_longer_than_the_models_context_are_counted(clip: Clip) -> None:
    # Start, "A GRAYSCALE photo of" in 4, five words, end: 11 of 16; three words more are just 14, six more are cut.
    fits, full = CAPTIONS[0], f"{CAPTIONS[0]} a a a a a"
    assert clip_module.count_cut(clip, [fits, full]) == 0
    assert clip_module.count_cut(clip, [fits, f"{full} person", f"{full} a person on"]) == 2
    assert clip_module.count_cut(clip, []) == 0
