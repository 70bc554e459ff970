"""All of the miniature's pretraining, made very small: a few steps on a few scenes."""

import dataclasses
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file
from torch import nn

from irgen.miniature import pretrain
from irgen.miniature.pretraining import autoencoder, clip, corpus, flow, layout, loop, pictures, scenenet
from irgen.miniature.scenenet import SceneNet

SCENES = 40
SHORT = {
    autoencoder: ("CROPS", "WHOLE"),
    flow: ("FLOW", "OBJECTS", "PEOPLE", "LAYOUT", "DISTIL"),
    layout: ("TEXT",),
    clip: ("SCHEDULE",),
    scenenet: ("SCHEDULE",),
}
SMALL = {
    autoencoder: {"CROP_BATCH": 2, "WHOLE_BATCH": 2},
    flow: {"BATCH": 2, "DISTIL_BATCH": 2},
    layout: {"TEXT_BATCH": 2},
    clip: {"BATCH": 4},
    scenenet: {"BATCH": 2},
    pictures: {"STEPS": 1},
    pretrain: {"TRAIN_SCENES": SCENES, "HELD_OUT_SCENES": 24},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in SHORT.items():
        for name in names:
            monkeypatch.setattr(module, name, dataclasses.replace(getattr(module, name), steps=2))
    for module, values in SMALL.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    # Compiling takes longer than these few steps.
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_weights_are_made_that_the_stock_libraries_load_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"out": tmp_path / "weights", "work": tmp_path / "work", "docs": tmp_path / "img"}
    pretrain.main(**folders, stage=pretrain.Stage.all, threads=1)
    pipeline = FluxPipeline.from_pretrained(tmp_path / "weights" / "flux")
    assert pipeline.vae.config.scaling_factor > 0
    assert all(tensor.isfinite().all() for tensor in pipeline.transformer.state_dict().values())
    open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'weights' / 'clip'}")
    net = SceneNet()
    net.load_state_dict(load_file(tmp_path / "weights" / "scenenet" / "scenenet.safetensors"))
    names = ("scenes", "autoencoder", "base")
    assert sorted(path.name for path in folders["docs"].iterdir()) == sorted(f"miniature-{one}.png" for one in names)
    steps: list[int] = []
    average = loop._average
    monkeypatch.setattr(loop, "_average", lambda *models: steps.append(1) or average(*models))
    (tmp_path / "work" / "distil.pt").unlink()
    pretrain.main(**folders, stage=pretrain.Stage.flux, threads=1)
    assert len(steps) == 2, "what was trained already was trained again"


def test_rendered_scenes_are_read_back_and_not_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 2)
    corpus.render(tmp_path, "train", 3, processes=1)
    kept = corpus.load(tmp_path, "train")
    alone = corpus._render_chunk("train", 2, 3)
    np.testing.assert_array_equal(kept.visible_u8[2:], alone[0])
    np.testing.assert_array_equal(kept.lwir_u8[2:], alone[1])
    assert len(kept) == 3 and [frame.id for frame in kept.frames] == ["train/0", "train/1", "train/2"]
    before = (tmp_path / "train-lwir.npy").stat().st_mtime_ns
    corpus.render(tmp_path, "train", 3, processes=1)
    assert (tmp_path / "train-lwir.npy").stat().st_mtime_ns == before
