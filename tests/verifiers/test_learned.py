"""Verifiers on published weights: the published formula over the stock model, on a tiny one in the same format."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoImageProcessor, AutoProcessor, CLIPModel, Dinov2ForImageClassification

from irgen.errors import WeightsError
from irgen.settings import (
    AestheticChoice,
    ClipscoreChoice,
    DinoClassChoice,
    ImageRewardChoice,
    PickScoreChoice,
    ZeroShotChoice,
)
from irgen.verifiers import weights
from irgen.verifiers.aesthetic import Aesthetic
from irgen.verifiers.clip import Clip
from irgen.verifiers.clipscore import ClipScore
from irgen.verifiers.dino_class import DinoClass
from irgen.verifiers.imagereward import MEAN, STD, ImageReward
from irgen.verifiers.pickscore import PickScore
from irgen.verifiers.similarity import Similarity
from irgen.verifiers.zero_shot import ZeroShot
from tests.tiny_clip import CAPTIONS
from tests.tiny_judges import (
    tiny_dinov2,
    tiny_dinov2_classifier,
    tiny_hf_clip,
    tiny_image_reward,
    tiny_siglip,
)

ROW = torch.randn(768, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def noise(count: int, height_px: int = 40, width_px: int = 56) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, height_px, width_px, 3), dtype=np.uint8)


def captions(count: int) -> list[str]:
    return [CAPTIONS[k % len(CAPTIONS)] for k in range(count)]


@pytest.fixture(scope="module")
def hf_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_hf_clip(tmp_path_factory.mktemp("hf_clip"))


@pytest.fixture(scope="module")
def dino_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dinov2_classifier(tmp_path_factory.mktemp("dino_classifier"))


@pytest.fixture(scope="module")
def image_reward(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageReward, dict[str, nn.Module]]:
    file, tokenizer, parts = tiny_image_reward(tmp_path_factory.mktemp("image_reward"))
    return ImageReward.load(ImageRewardChoice(weights=str(file), tokenizer=str(tokenizer))), parts


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """LAION's five linear layers, with the dropouts' numbers left out, on tiny features."""
    torch.manual_seed(1)
    widths = {0: (24, 16), 2: (16, 8), 4: (8, 4), 6: (4, 4), 7: (4, 1)}
    layers = {number: nn.Linear(*shape) for number, shape in widths.items()}
    named = {number: each.state_dict() for number, each in layers.items()}
    tensors = {f"layers.{number}.{name}": value for number, each in named.items() for name, value in each.items()}
    save_file(tensors, tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


def stock_clip_features(
    folder: Path, images: np.ndarray, texts: list[str]
) -> tuple[torch.Tensor, torch.Tensor, nn.Module]:
    """Unit features by stock open_clip; images have its input's size, so that nobody resizes."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        seen = model.eval().encode_image(pixels, normalize=True)
        read = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts), normalize=True)
    return seen, read, model


def test_clipscore_is_two_and_a_half_times_the_cosine_cut_at_zero(clip: Clip, clip_folder: Path) -> None:
    images = noise(6, 16, 24)
    seen, read, _ = stock_clip_features(clip_folder, images, [f"A photo depicts {caption}" for caption in captions(6)])
    cosine = (seen * read).sum(-1).numpy()
    scores = ClipScore(clip).score(images, captions(6))
    np.testing.assert_allclose(scores.parts["cos_caption"], cosine, atol=1e-6)
    np.testing.assert_array_equal(scores.value, 2.5 * scores.parts["cos_caption"].clip(min=0))


def test_a_negative_cosine_scores_zero(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(1)
    monkeypatch.setattr(Clip, "text_features", lambda self, texts: -self.image_features(self.resize(images)))
    scores = ClipScore(clip).score(images, ["x"])
    assert scores.value[0] == 0 and scores.parts["cos_caption"][0] == pytest.approx(-1)


def test_the_aesthetic_score_is_the_heads_layers_one_after_the_other(clip_folder: Path, head: Path) -> None:
    images = noise(3, 16, 24)
    rows, _, _ = stock_clip_features(clip_folder, images, ["x"])
    tensors = load_file(head)
    for number in (0, 2, 4, 6, 7):
        rows = rows @ tensors[f"layers.{number}.weight"].T + tensors[f"layers.{number}.bias"]
    choice = AestheticChoice(head=str(head), model=f"local-dir:{clip_folder}", pretrained="")
    np.testing.assert_allclose(Aesthetic.load(choice).score(images, captions(3)).value, rows[:, 0].numpy(), atol=2e-3)


def test_the_linear_aesthetic_head_is_read_too(clip_folder: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 24), "bias": torch.tensor([5.5])}, tmp_path / "linear.safetensors")
    choice = AestheticChoice(head=str(tmp_path / "linear.safetensors"), model=f"local-dir:{clip_folder}", pretrained="")
    np.testing.assert_array_equal(Aesthetic.load(choice).score(noise(2), captions(2)).value, [5.5, 5.5])


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"weight": torch.zeros(1, 9), "bias": torch.zeros(1)}, "features of 9 numbers, but .* gives 24"),
        ({"weight": torch.zeros(2, 24), "bias": torch.zeros(2)}, "does not end in one score"),
        ({"weight": torch.full((1, 24), torch.nan), "bias": torch.zeros(1)}, "weight is not finite"),
        ({"other": torch.zeros(1)}, "not a stack of linear layers"),
        (
            {
                "layers.0.weight": torch.zeros(3, 24),
                "layers.0.bias": torch.zeros(3),
                "layers.1.weight": torch.zeros(1, 4),
                "layers.1.bias": torch.zeros(1),
            },
            "not a stack of linear layers",
        ),
    ],
)
def test_a_head_that_does_not_fit_is_refused(clip_folder: Path, tmp_path: Path, tensors, complaint) -> None:
    save_file(tensors, tmp_path / "head.safetensors")
    choice = AestheticChoice(head=str(tmp_path / "head.safetensors"), model=f"local-dir:{clip_folder}", pretrained="")
    with pytest.raises(WeightsError, match=complaint):
        Aesthetic.load(choice)


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    (tmp_path / "ImageReward.pt").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="pickled weights are never read") as refusal:
        ImageReward.load(ImageRewardChoice(weights=str(tmp_path / "ImageReward.pt")))
    assert "save_file" in refusal.value.fix and "weights_only=True" in refusal.value.fix
    with pytest.raises(WeightsError, match="no such file"):
        Aesthetic.load(AestheticChoice(head=str(tmp_path / "absent.safetensors")))


def test_the_conversion_that_errors_name_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "published.pt")
    command = re.search(r'-c "(.*)"$', weights.conversion("published.pt", "converted.safetensors"))
    monkeypatch.chdir(tmp_path)
    exec(command[1], {})
    read = weights.read(str(tmp_path / "converted.safetensors"), "field", "")
    torch.testing.assert_close(read["a"], torch.arange(3.0))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(WeightsError, match="damaged"):
        Aesthetic.load(AestheticChoice(head=str(tmp_path / "head.safetensors")))


def test_pickscore_is_the_stock_models_own_logit(hf_clip: Path) -> None:
    images = noise(3)
    model, processor = CLIPModel.from_pretrained(hf_clip).eval(), AutoProcessor.from_pretrained(hf_clip)
    inputs = processor(images=list(images), text=captions(3), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits_per_image
    scores = PickScore.load(PickScoreChoice(model=str(hf_clip), processor=str(hf_clip))).score(images, captions(3))
    np.testing.assert_allclose(scores.value, logits.diagonal().numpy(), rtol=1e-5)


def test_image_reward_equals_timms_vit_and_transformers_bert_under_the_checkpoints_names(image_reward) -> None:
    verifier, parts = image_reward
    images, words = noise(3), verifier._tokenizer(captions(3), padding="max_length", max_length=35, return_tensors="pt")
    pixels = verifier._processor(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        seen = parts["blip.visual_encoder."].forward_features(pixels)
        read = parts["blip.text_encoder."](
            input_ids=words["input_ids"], attention_mask=words["attention_mask"], encoder_hidden_states=seen
        ).last_hidden_state[:, 0]
        expected = (parts["head"](read)[:, 0] - MEAN) / STD
    np.testing.assert_allclose(verifier.score(images, captions(3)).value, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert np.ptp(expected.numpy()) > 1e-3


def test_image_reward_of_another_architecture_is_refused(tmp_path: Path) -> None:
    save_file({"blip.visual_encoder.conv": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not ImageReward's tensors"):
        ImageReward.load(ImageRewardChoice(weights=str(tmp_path / "other.safetensors")))


def test_zero_shot_is_the_logit_of_the_class_that_the_caption_names(clip: Clip, clip_folder: Path) -> None:
    images = noise(3, 16, 24)
    classes = ("one person", "two people", "road")
    seen, read, model = stock_clip_features(clip_folder, images, [f"a photo of a {name}" for name in classes])
    with torch.no_grad():
        logits = model.logit_scale.exp() * seen @ read.T
    zero_shot = ZeroShot(clip, classes, "a photo of a {}")
    scores = zero_shot.score(images, ["Two  people on a road", "a road", "a house"])
    np.testing.assert_allclose(scores.value[:2], logits[[0, 1], [1, 2]], atol=1e-4)
    np.testing.assert_allclose(
        scores.parts["zero_shot_log_probability"][:2], logits.log_softmax(1)[[0, 1], [1, 2]], atol=1e-4
    )
    assert np.isnan(scores.value[2]) and np.isnan(scores.parts["zero_shot_log_probability"][2])
    assert scores.reasons == ("", "", "the caption names none of the 3 classes")


@pytest.mark.parametrize("kind", ["clipscore", "zero_shot"])
def test_settings_name_the_clip_model(kind: str, clip_folder: Path) -> None:
    where = {"model": f"local-dir:{clip_folder}", "pretrained": ""}
    verifier = {
        "clipscore": lambda: ClipScore.load(ClipscoreChoice(**where)),
        "zero_shot": lambda: ZeroShot.load(ZeroShotChoice(**where, classes=("person", "people"))),
    }[kind]()
    assert np.isfinite(verifier.score(noise(2), ["one person", "two people"]).value).all()


def test_dino_class_is_the_classifiers_logit_and_knows_synonyms_and_the_longest_name(dino_classifier: Path) -> None:
    images = noise(4)
    model = Dinov2ForImageClassification.from_pretrained(dino_classifier).eval()
    pixels = AutoImageProcessor.from_pretrained(dino_classifier)(images=list(images), return_tensors="pt")
    with torch.no_grad():
        logits = model(**pixels).logits.numpy()
    scores = DinoClass.load(DinoClassChoice(model=str(dino_classifier))).score(
        images, ["tinca tinca", "a street cat at night", "a cat", "category"]
    )
    np.testing.assert_allclose(scores.value[:3], logits[[0, 1, 2], [0, 1, 2]], rtol=1e-5)
    assert np.isnan(scores.value[3]) and "none of the 3 classes" in scores.reasons[3]


@pytest.mark.parametrize("build", [tiny_dinov2, tiny_hf_clip, tiny_siglip])
def test_similarity_is_one_for_the_same_image_and_less_for_another(build, tmp_path: Path) -> None:
    similarity = Similarity.load(str(build(tmp_path)))
    images = noise(10)
    assert np.allclose(similarity.compare(images, images).value, 1, atol=1e-9)
    other = similarity.compare(images, images[::-1])
    assert (other.value < 1 - 1e-4).all()
    np.testing.assert_allclose(other.value, other.value[::-1], atol=1e-12)  # a cosine is symmetric
    with pytest.raises(ValueError, match="1 previews, but 2 images"):
        similarity.compare(images[:1], images[:2])


def test_similarity_has_the_stock_models_features(tmp_path: Path) -> None:
    folder = tiny_hf_clip(tmp_path)
    images = noise(2)
    pixels = AutoProcessor.from_pretrained(folder).image_processor(images=list(images), return_tensors="pt")
    with torch.no_grad():
        rows = CLIPModel.from_pretrained(folder).eval().get_image_features(**pixels).pooler_output.double()
    expected = torch.nn.functional.normalize(rows, dim=-1)
    torch.testing.assert_close(Similarity.load(str(folder)).features(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["clipscore", "pickscore", "imagereward", "zero_shot", "dino_class"])
def test_a_score_does_not_depend_on_the_other_images_bit_for_bit(
    kind: str, clip: Clip, hf_clip: Path, dino_classifier: Path, image_reward
) -> None:
    verifier = {
        "clipscore": lambda: ClipScore(clip),
        "pickscore": lambda: PickScore.load(PickScoreChoice(model=str(hf_clip), processor=str(hf_clip))),
        "imagereward": lambda: image_reward[0],
        "zero_shot": lambda: ZeroShot(clip, ("person", "people"), "a {}"),
        "dino_class": lambda: DinoClass.load(DinoClassChoice(model=str(dino_classifier))),
    }[kind]()
    images = noise(11)
    texts = ["a cat"] * 11 if kind == "dino_class" else captions(11)

    def score(rows: slice) -> np.ndarray:
        scores = verifier.score(images[rows], texts[rows])
        return scores.parts.get("cos_caption", scores.value)

    together = score(slice(None))
    assert np.isfinite(together).all() and np.ptp(together) > 0
    for k in (0, 7, 10):
        assert score(slice(k, k + 1))[0] == together[k]
    np.testing.assert_array_equal(score(slice(None, None, -1))[::-1], together)
    with pytest.raises(ValueError, match="2 images, but 1 captions"):
        verifier.score(images[:2], texts[:1])


@pytest.mark.parametrize(
    "verifier",
    [ClipScore, lambda clip: ZeroShot(clip, ("person", "car"), "a {}"), lambda clip: Aesthetic(clip, ROW, 1.0)],
)
def test_inner_products_of_many_numbers_do_not_depend_on_the_other_rows(verifier: Callable[[Any], Any]) -> None:
    class Wide:
        """A CLIP with as many numbers in a feature as a large one has, where a matrix product's bits change."""

        device = torch.device("cpu")
        model = SimpleNamespace(logit_scale=torch.tensor(4.6))
        images = torch.randn(16, 768, generator=torch.Generator().manual_seed(0))

        def resize(self, images: np.ndarray) -> torch.Tensor:
            return self.images[images[:, 0, 0, 0].tolist()]

        def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

        def text_features(self, texts: list[str]) -> torch.Tensor:
            return self.images[[len(text) % 16 for text in texts]]

    judge, numbers = verifier(Wide()), np.arange(16, dtype=np.uint8)[:, None, None, None]
    texts = ["a person", "a car"] * 8
    together = judge.score(numbers, texts)
    for count in (1, 2, 3, 5, 8):
        some = judge.score(numbers[:count], texts[:count])
        np.testing.assert_array_equal(some.value, together.value[:count])
        for name, part in some.parts.items():
            np.testing.assert_array_equal(part, together.parts[name][:count])


def test_a_model_that_is_not_finite_gives_nan(hf_clip: Path) -> None:
    verifier = PickScore.load(PickScoreChoice(model=str(hf_clip), processor=str(hf_clip)))
    with torch.no_grad():
        verifier._model.visual_projection.weight.fill_(float("inf"))
    assert np.isnan(verifier.score(noise(2), captions(2)).value).all()


@pytest.mark.parametrize("kind", ["pickscore", "dino_class", "similarity"])
def test_weights_that_are_not_there_are_named_with_the_command_that_gets_them(kind: str, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    load = {
        "pickscore": lambda: PickScore.load(PickScoreChoice(model=absent, processor=absent)),
        "dino_class": lambda: DinoClass.load(DinoClassChoice(model=absent)),
        "similarity": lambda: Similarity.load(absent),
    }[kind]
    with pytest.raises(WeightsError, match=rf"{kind}\.\w+ = .*absent: cannot be loaded") as refusal:
        load()
    assert "hf download" in refusal.value.fix


def test_a_model_with_pickled_weights_only_is_refused(hf_clip: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(hf_clip, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save(CLIPModel.from_pretrained(hf_clip).state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        PickScore.load(PickScoreChoice(model=str(pickled), processor=str(hf_clip)))
