"""Fixtures for the verifier's tests: a tiny CLIP, saved and loaded as a real one is."""

from pathlib import Path

import pytest
import torch

from irgen.verifiers import clip as clip_module
from irgen.verifiers.clip import Clip
from tests.tiny_clip import tiny_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def clip(clip_folder: Path) -> Clip:
    return clip_module.load(f"local-dir:{clip_folder}", "", torch.device("cpu"), torch.float32)
