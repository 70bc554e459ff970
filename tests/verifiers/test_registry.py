import ast
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from irgen import settings
from irgen.errors import SettingsError, WeightsError
from irgen.miniature import dataset
from irgen.verifiers import IrScore, ensemble, registry
from irgen.verifiers.clip import Clip
from irgen.verifiers.ensemble import Ensemble
from irgen.verifiers.realism import Realism
from tests.test_architecture import imports
from tests.tiny_clip import CAPTIONS


@pytest.fixture(scope="module")
def trained(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stage verifier leaves behind."""
    import torch

    from irgen.verifiers import clip as clip_module

    folder = tmp_path_factory.mktemp("trained")
    clip: Clip = clip_module.load(f"local-dir:{clip_folder}", "", torch.device("cpu"), torch.float32)
    IrScore(clip, 0.5).save(folder, "fp32")
    places = dataset.plan(18, dataset.TRAIN_SETS)
    frames = [dataset.scene_at(0, place).lwir_u8 for place in places]
    Realism.fit(frames, [place.video_name for place in places], 96, 80).save(folder)
    return folder


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (*shape, 80, 96, 3), dtype=np.uint8)


def never(voices: object) -> dict[str, np.ndarray]:
    raise AssertionError("a single verifier needs no reference")


def test_every_name_of_the_settings_has_a_class_that_loads_from_them() -> None:
    union = get_args(settings.SingleChoice)[0]
    names = {choice.model_fields["name"].default for choice in get_args(union)}
    assert names - {"extension"} == set(registry.CLASSES)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(SettingsError, match=r"clipscor.*'irscore', 'clipscore', 'aesthetic'.*'ensemble'"):
        registry.choice({"name": "clipscor"})
    with pytest.raises(SettingsError, match=r"head. is missing"):
        registry.choice({"name": "aesthetic"})
    with pytest.raises(SettingsError, match="twice"):
        registry.choice({"name": "ensemble", "members": [{"verifier": {"name": "irscore"}}] * 2})


def test_the_default_is_the_verifier_stages_irscore(trained: Path) -> None:
    images = noise(2)
    value = registry.load(registry.choice({"name": "irscore"}), trained, never).score(images, CAPTIONS[:2]).value
    np.testing.assert_array_equal(value, IrScore.load(trained).score(images, CAPTIONS[:2]).value)


def test_an_ensemble_is_loaded_with_its_members_and_measured_once(trained: Path, clip_folder: Path) -> None:
    chosen = registry.choice(
        {
            "name": "ensemble",
            "members": [
                {"verifier": {"name": "irscore"}},
                {"verifier": {"name": "realism"}, "weight": 2},
                {"verifier": {"name": "clipscore", "model": f"local-dir:{clip_folder}", "pretrained": ""}},
            ],
        }
    )
    asked = []

    def measure(voices: list[ensemble.Voice]) -> dict[str, np.ndarray]:
        asked.append([(voice.name, voice.weight) for voice in voices])
        measured = ensemble.measure(voices, noise(3, 4), CAPTIONS)
        # The tiny random CLIP finds no image like its caption: all CLIPScores are 0.
        return measured | {"clipscore": np.arange(12.0).reshape(3, 4)}

    verifier = registry.load(chosen, trained, measure)
    assert isinstance(verifier, Ensemble)
    assert asked == [[("irscore", 1.0), ("realism", 2.0), ("clipscore", 1.0)]]
    scores = verifier.score(noise(5), [CAPTIONS[0]] * 5)
    assert np.isfinite(scores.value).all()
    assert {"irscore", "rank_irscore", "cos_infrared", "realism_noise", "cos_caption"} <= scores.parts.keys()


def test_what_the_verifier_stage_did_not_leave_is_missed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"realism\.safetensors"):
        registry.load(registry.choice({"name": "realism"}), tmp_path, never)


def test_a_verifiers_own_module_is_not_imported_before_it_is_asked_for(repository: Path) -> None:
    tree = ast.parse((repository / "irgen" / "verifiers" / "registry.py").read_text())
    imported = set(imports(tree, top_level=True))
    assert not imported & {f"irgen.verifiers.{path.split('.')[0]}" for path in registry.CLASSES.values()}
