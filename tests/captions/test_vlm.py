from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from irgen.captions.vlm import VlmCaptioner
from irgen.errors import WeightsError
from tests.tiny_vlm import WORDS, tiny_blip2, tiny_florence2, tiny_qwen2_vl

CPU = torch.device("cpu")
SIZES_PX = ((40, 60), (8, 8), (24, 16))  # some models make more tokens of a larger image
PICTURES = [np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES_PX]


@pytest.mark.parametrize("build", [tiny_blip2, tiny_qwen2_vl, tiny_florence2])
def test_models_of_every_class_answer_in_words_of_their_own(build: Callable[[Path], Path], tmp_path: Path) -> None:
    captioner = VlmCaptioner(str(build(tmp_path)), CPU)
    said = captioner.describe(PICTURES)
    assert len(said) == 3
    # Neither the prompt nor a mark of an image is repeated, and a random model hardly ends at once.
    assert all(set(text.split()) <= set(WORDS) for text in said)
    assert any(said)
    assert captioner.describe(PICTURES) == said


@pytest.mark.parametrize("build", [tiny_blip2, tiny_qwen2_vl])
def test_what_is_said_of_an_image_does_not_depend_on_its_neighbours(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    captioner = VlmCaptioner(str(build(tmp_path)), CPU)
    together = captioner.describe(PICTURES)
    assert [captioner.describe([picture])[0] for picture in PICTURES] == together


def test_missing_weights_are_named_with_the_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"someone/nothing: cannot be loaded .*\n.*hf download someone/nothing"):
        VlmCaptioner("someone/nothing", CPU)
    tiny_blip2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        VlmCaptioner(str(tmp_path), CPU)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    tiny_blip2(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        VlmCaptioner(str(tmp_path), CPU)
