import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from irgen.errors import WeightsError
from irgen.verifiers import IrScore
from irgen.verifiers.clip import Clip
from tests.tiny_clip import CAPTIONS


def noise(count: int, height_px: int = 40, width_px: int = 56) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, height_px, width_px, 3), dtype=np.uint8)


@pytest.mark.parametrize("alpha", [0.5, 0.3])
def test_irscore_is_the_formula_over_stock_open_clip(clip: Clip, clip_folder, alpha) -> None:
    images, captions = noise(3), list(CAPTIONS)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}", image_resize_mode="squash")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        shown = model.eval().encode_image(pixels, normalize=True)
        infrared = model.encode_text(tokenizer([f"An INFRARED photo of {c}" for c in captions]), normalize=True)
        grayscale = model.encode_text(tokenizer([f"A GRAYSCALE photo of {c}" for c in captions]), normalize=True)
    expected_ir, expected_gray = (shown * infrared).sum(-1).numpy(), (shown * grayscale).sum(-1).numpy()
    scores = IrScore(clip, alpha).score(images, captions)
    # PIL rounds to uint8 after resizing, tensors do not.
    np.testing.assert_allclose(scores.parts["cos_infrared"], expected_ir, atol=2e-3)
    np.testing.assert_allclose(scores.parts["cos_grayscale"], expected_gray, atol=2e-3)
    cosines = scores.parts
    expected = (1 - alpha) * cosines["cos_infrared"] - alpha * cosines["cos_grayscale"]
    np.testing.assert_allclose(scores.value, expected, rtol=0, atol=1e-15)


def test_at_the_models_size_features_equal_stock_open_clips(clip: Clip, clip_folder) -> None:
    images = noise(2, 16, 24)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        expected = model.eval().encode_image(pixels, normalize=True)
    torch.testing.assert_close(clip.image_features(clip.resize(images)), expected, rtol=0, atol=1e-6)


def test_a_score_does_not_depend_on_the_other_images_bit_for_bit(clip: Clip) -> None:
    images, captions = noise(21), [CAPTIONS[k % 3] for k in range(21)]
    together = IrScore(clip, 0.5).score(images, captions)
    for k in (0, 7, 20):
        alone = IrScore(clip, 0.5).score(images[k : k + 1], captions[k : k + 1])
        assert alone.value[0] == together.value[k]
        assert alone.parts["cos_infrared"][0] == together.parts["cos_infrared"][k]
    backwards = IrScore(clip, 0.5).score(images[::-1], captions[::-1])
    np.testing.assert_array_equal(backwards.value[::-1], together.value)


def test_each_caption_is_encoded_once(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    real = Clip.text_features
    monkeypatch.setattr(Clip, "text_features", lambda self, texts: encoded.extend(texts) or real(self, texts))
    verifier = IrScore(clip, 0.5)
    verifier.score(noise(4), [CAPTIONS[0], CAPTIONS[1], CAPTIONS[0], CAPTIONS[1]])
    verifier.score(noise(1), [CAPTIONS[1]])
    assert len(encoded) == 4


def test_a_model_that_is_not_finite_gives_nan(clip: Clip) -> None:
    with torch.no_grad():
        clip.model.visual.proj.fill_(float("inf"))
    assert np.isnan(IrScore(clip, 0.5).score(noise(2), CAPTIONS[:2]).value).all()


def test_images_and_captions_must_be_as_many(clip: Clip) -> None:
    with pytest.raises(ValueError, match="2 images, but 1 captions"):
        IrScore(clip, 0.5).score(noise(2), CAPTIONS[:1])


def test_a_saved_verifier_scores_the_same(clip: Clip, tmp_path) -> None:
    IrScore(clip, 0.3).save(tmp_path, "fp32")
    images = noise(3)
    before, after = IrScore(clip, 0.3).score(images, CAPTIONS), IrScore.load(tmp_path).score(images, CAPTIONS)
    np.testing.assert_array_equal(after.value, before.value)


@pytest.mark.parametrize("damage", ["irscore.json", "open_clip_model.safetensors", "open_clip_config.json"])
def test_a_saved_verifier_without_one_of_its_files_is_refused(clip: Clip, tmp_path, damage) -> None:
    IrScore(clip, 0.5).save(tmp_path, "fp32")
    (tmp_path / damage).unlink()
    with pytest.raises(WeightsError, match=damage):
        IrScore.load(tmp_path)
