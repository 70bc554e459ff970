"""Training an adapter on a random FLUX: resume, algebra, format, guards."""

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file

from irgen import files, generators, images, ranks, records, store
from irgen.captions import forms
from irgen.collective import Group
from irgen.errors import SettingsError, SourceError, StoreError, WeightsError
from irgen.generators import lora, training
from irgen.generators.loading import ADAPTER_FILE
from irgen.lane import Plan
from irgen.settings import AdapterSettings, BaseSettings
from irgen.stages import adapter as stage
from tests.test_lanes import until
from tests.thread_group import together
from tests.tiny_flux import HEIGHT_PX, T5_TOKENS, WIDTH_PX, tiny_flux

STEPS = 6
SPLITS = ("train",) * 5 + ("val", "test")


@dataclasses.dataclass(frozen=True)
class World:
    """A base, and the outputs of the frames and captions stages."""

    base: BaseSettings
    frames: Path
    captions: Path

    def run(self, out: Path, base: BaseSettings | None = None, **changes: Any) -> dict[str, Any]:
        return stage.run(settings(**changes), base or self.base, self.frames, self.captions, out)


def settings(**changes: Any) -> AdapterSettings:
    small = {
        "rank": 4,
        "alpha": 8,
        "target_modules": ("attn.to_q", "attn.to_v", "proj_out"),
        "steps": STEPS,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "checkpoint_every": 3,
        "grid_images": 3,
        "gradient_checkpointing": False,
    }
    return AdapterSettings.model_validate({**small, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    frames = [draw(root / "raw", number, split) for number, split in enumerate(SPLITS)]
    folder = root / "frames"
    folder.mkdir()
    records.write_rows(folder / "frames.parquet", frames, records.Frame.SCHEMA)
    described = {"stage": "frames", "settings": {"frames": {"source": "folder", "root": str(root / "raw")}}}
    store.write_manifest(folder, described, store.listing(folder))
    write_captions(root / "captions", frames)
    base = BaseSettings(
        model=str(tiny_flux(root / "flux")),
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        max_sequence_length=T5_TOKENS,
        precision="fp32",
    )
    return World(base, folder, root / "captions")


def draw(root: Path, number: int, split: str) -> records.Frame:
    """Write a noisy LWIR image, larger than the base's, and return its frame."""
    root.mkdir(exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (32, 48), np.uint8)
    Image.fromarray(pixels).save(root / f"{number}.png")
    return records.Frame(
        id=f"f{number}", source="folder", split=split, set="", video=split, time="day", place="", visible="",
        lwir=f"{number}.png", visible_sha256="", lwir_sha256="", width_px=48, height_px=32,
    )  # fmt: skip


def write_captions(folder: Path, frames: list[records.Frame], split: str = "") -> None:
    folder.mkdir(exist_ok=True)
    rows = []
    for number, frame in enumerate(frames):
        text = "a dog" if number % 2 else "a car"
        rows.append(records.Caption(frame.id, split or frame.split, text, forms.infrared(text), "", "rules", 12, False))
    records.write_rows(folder / "captions.parquet", rows, records.Caption.SCHEMA)


@pytest.fixture(scope="module")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("trained")
    return out, world.run(out)


def test_it_learns_and_says_what_it_did(trained: tuple[Path, dict[str, Any]]) -> None:
    out, figures = trained
    assert figures["images"] == 5 and figures["texts"] == 2 and figures["steps"] == STEPS
    trace = pq.read_table(out / "loss.parquet").to_pydict()
    assert trace["step"] == list(range(1, STEPS + 1))
    assert trace["learning_rate"] == pytest.approx([0.005, 0.01, 0.01, 0.01, 0.01, 0.01])
    assert figures["loss_last"] == pytest.approx(trace["smoothed"][-1], abs=1e-6)
    assert (out / ADAPTER_FILE).stat().st_mode == (out / "loss.parquet").stat().st_mode
    assert json.loads((out / "adapter.json").read_text())["rank"] == 4
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (3 * WIDTH_PX, 3 * HEIGHT_PX)
        pixels = np.array(grid).reshape(3, HEIGHT_PX, 3 * WIDTH_PX, 3)
    assert np.abs(pixels[1].astype(int) - pixels[2]).max() > 3, "base and adapted images are the same"


def test_no_frame_of_another_split_is_opened(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[str] = set()
    read = images._bytes
    monkeypatch.setattr(images, "_bytes", lambda path: opened.add(path.name) or read(path))
    world.run(tmp_path, steps=1)
    assert opened == {f"{number}.png" for number, split in enumerate(SPLITS) if split == "train"}


def test_long_training_lowers_the_loss(world: World, tmp_path: Path) -> None:
    world.run(tmp_path, steps=60, batch_size=8, grid_images=1)
    losses = pq.read_table(tmp_path / "loss.parquet")["loss"].to_numpy()
    assert losses[-10:].mean() < 0.9 * losses[:10].mean()


@pytest.mark.parametrize("size", [2, 5])
def test_several_processes_learn_what_one_does(world: World, tmp_path: Path, size: int) -> None:
    wanted = settings(gradient_accumulation=2, learning_rate=10.0, warmup_steps=0, checkpoint_every=STEPS + 1)

    def prepared() -> training.Trainer:
        trainer = stage._prepared(wanted, world.base, world.frames, world.captions, tmp_path)[-1]
        # Adam forgets how large a gradient was: a gradient counted twice would not show.
        trainer.optimizer = torch.optim.SGD(trainer.parameters.values())
        return trainer

    trainers = [prepared() for _ in range(size)]  # models are not loaded in several threads at once

    def learn(group: Group) -> list[float]:
        trainer = trainers[group.rank]
        trainer.group = group
        trainer.run()
        return trainer.losses

    alone = prepared()
    alone.run()
    assert len(set(alone.losses)) == STEPS
    for losses in together(size, learn):
        assert losses == pytest.approx(alone.losses, rel=1e-5)


@pytest.mark.slow
def test_two_real_processes_learn_what_one_does_and_go_on_when_one_was_killed(world: World, tmp_path: Path) -> None:
    wanted = {"steps": 120, "checkpoint_every": 3}
    plan = Plan(
        stage="adapter",
        sections={"adapter": settings(**wanted).model_dump(mode="json"), "base": world.base.model_dump(mode="json")},
        inputs={"frames": str(world.frames), "captions": str(world.captions)},
        out=str(tmp_path / "two"),
        parent=os.getpid(),
    )
    alone = world.run(tmp_path / "one", **wanted)

    def kill() -> None:
        until((tmp_path / "two" / files.TMP / training.CHECKPOINT).exists)
        next(each for each in psutil.Process().children() if "irgen.rank" in each.cmdline()).kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(ranks.RankError, match="exit code -9"):
        ranks.run(plan, 2)
    killer.join()
    ranks.run(plan, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Trainer, "_step", None)  # all is learnt
        both = world.run(tmp_path / "two", **wanted)
    traces = [pq.read_table(tmp_path / each / "loss.parquet")["loss"].to_pylist() for each in ("one", "two")]
    assert traces[1] == pytest.approx(traces[0], rel=1e-3)
    assert both["loss_last"] == pytest.approx(alone["loss_last"], rel=1e-3)


@pytest.mark.parametrize("killed_at", [3, 4])
def test_a_killed_run_goes_on_to_the_same_bytes(
    world: World, trained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    def killed(trainer: training.Trainer) -> None:
        if len(trainer.losses) == killed_at:
            raise KeyboardInterrupt
        step(trainer)

    step = training.Trainer._step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Trainer, "_step", killed)
        world.run(tmp_path)
    assert not (tmp_path / ADAPTER_FILE).exists()
    taken: list[int] = []
    monkeypatch.setattr(training.Trainer, "_step", lambda trainer: taken.append(len(trainer.losses)) or step(trainer))
    figures = world.run(tmp_path)
    assert taken == [3, 4, 5], "it did not go on at the checkpoint"
    assert figures == trained[1]
    for name in (ADAPTER_FILE, "loss.parquet", "adapter.json", "grid.png"):
        assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes(), name


def test_a_damaged_checkpoint_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / files.TMP).mkdir()
    (tmp_path / files.TMP / training.CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(WeightsError, match=training.CHECKPOINT):
        world.run(tmp_path)


def test_accumulated_forwards_are_one_batch(world: World, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    world.run(tmp_path, batch_size=1, gradient_accumulation=2)
    losses, whole = (pq.read_table(path / "loss.parquet")["loss"].to_numpy() for path in (tmp_path, trained[0]))
    np.testing.assert_allclose(losses, whole, rtol=1e-4)


def test_gradient_checkpointing_changes_nothing(
    world: World, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    world.run(tmp_path, gradient_checkpointing=True)
    losses, whole = (pq.read_table(path / "loss.parquet")["loss"].to_numpy() for path in (tmp_path, trained[0]))
    np.testing.assert_allclose(losses, whole, rtol=1e-4)


def test_another_seed_is_another_adapter(world: World, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    world.run(tmp_path, seed=1)
    assert (tmp_path / ADAPTER_FILE).read_bytes() != (trained[0] / ADAPTER_FILE).read_bytes()


def test_the_base_is_unchanged_and_the_update_is_alpha_over_r_times_ba(world: World, tmp_path: Path) -> None:
    name = "single_transformer_blocks.0.attn.to_q"
    pipeline = FluxPipeline.from_pretrained(world.base.model)
    before = pipeline.transformer.get_submodule(name).weight.clone()
    parameters = lora.add(pipeline.transformer, settings())
    a, b = (parameters[f"{name}.lora_{one}.default.weight"] for one in "AB")
    assert a.abs().max() <= a.shape[1] ** -0.5 and not b.any()
    b.data.normal_(generator=torch.Generator().manual_seed(0))
    lora.save(pipeline.transformer, settings(), tmp_path)
    assert torch.equal(pipeline.transformer.get_submodule(name).base_layer.weight, before)
    merged = FluxPipeline.from_pretrained(world.base.model)
    merged.load_lora_weights(tmp_path)
    merged.fuse_lora()
    merged.unload_lora_weights()
    after = merged.transformer.get_submodule(name).weight
    torch.testing.assert_close(after, before + 8 / 4 * b @ a)


def test_the_stock_pipeline_takes_the_file_and_makes_the_same_images(
    world: World, trained: tuple[Path, dict[str, Any]]
) -> None:
    generator = generators.load(world.base, 3, 2.0, 2, trained[0])
    noise = torch.randn(1, *generator.latent_shape, generator=torch.Generator().manual_seed(0))
    text = "An INFRARED photo"
    ours = generator.decode(generator.denoise(noise, generator.encode([text]), 0, 3).latents)
    pipeline = FluxPipeline.from_pretrained(world.base.model)
    pipeline.set_progress_bar_config(disable=True)

    def stock() -> np.ndarray:
        packed = pipeline._pack_latents(noise, 1, *generator.latent_shape)
        size = {"height": HEIGHT_PX, "width": WIDTH_PX, "max_sequence_length": T5_TOKENS}
        made = pipeline(text, **size, num_inference_steps=3, guidance_scale=2.0, latents=packed, output_type="np")
        return made.images * 255

    assert np.abs(stock() - ours).max() > 3
    pipeline.load_lora_weights(trained[0])
    assert np.abs(stock() - ours).max() < 0.6


def test_a_loss_that_is_not_finite_stops_with_trace_and_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.Trainer._loss

    def broken(trainer: training.Trainer, positions: range) -> torch.Tensor:
        return whole(trainer, positions) * (float("nan") if len(trainer.losses) == 4 else 1.0)

    monkeypatch.setattr(training.Trainer, "_loss", broken)
    with pytest.raises(WeightsError, match=f"not finite at step 5 of {STEPS}") as caught:
        world.run(tmp_path)
    assert "learning_rate" in caught.value.fix
    kept = load_file(tmp_path / files.TMP / training.CHECKPOINT)
    assert len(kept["losses"]) == 3 and all(torch.isfinite(one).all() for one in kept.values())
    assert len(pq.read_table(tmp_path / files.TMP / "loss.parquet")) == 5
    assert not (tmp_path / ADAPTER_FILE).exists()


def test_a_loss_that_is_not_finite_once_costs_a_step_back_and_a_lower_rate(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.Trainer._loss
    accidents = iter([float("nan")])

    def broken(trainer: training.Trainer, positions: range) -> torch.Tensor:
        return whole(trainer, positions) * (next(accidents, 1.0) if len(trainer.losses) == 4 else 1.0)

    monkeypatch.setattr(training.Trainer, "_loss", broken)
    world.run(tmp_path)
    trace = pq.read_table(tmp_path / "loss.parquet").to_pydict()
    assert trace["step"] == list(range(1, STEPS + 1)) and all(np.isfinite(trace["loss"]))
    rates = [training.learning_rate(settings(), step) for step in range(STEPS)]
    assert trace["learning_rate"] == rates[:3] + [rate * training.GENTLER for rate in rates[3:]]


def test_an_unknown_target_is_refused_with_those_there_are(world: World, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'attn\.to_x'") as caught:
        world.run(tmp_path, target_modules=("attn.to_q", "attn.to_x"))
    assert "attn.to_out.0" in caught.value.fix and "x_embedder" in caught.value.fix


def test_a_base_that_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="/no/such/flux"):
        world.run(tmp_path, world.base.model_copy(update={"model": "/no/such/flux"}))


def no_captions(world: World, folder: Path) -> None:
    write_captions(folder, [])


def mislabelled_captions(world: World, folder: Path) -> None:
    write_captions(folder, records.read_rows(world.frames / "frames.parquet", records.Frame), split="train")


def strange_captions(world: World, folder: Path) -> None:
    frame = records.read_rows(world.frames / "frames.parquet", records.Frame)[0]
    write_captions(folder, [dataclasses.replace(frame, id="elsewhere")])


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (no_captions, SourceError, "no captioned frame"),
        (mislabelled_captions, StoreError, "f5 .* of the val split"),
        (strange_captions, StoreError, "elsewhere .* unknown"),
    ],
)
def test_captions_that_do_not_fit_are_refused(
    world: World,
    tmp_path: Path,
    write: Callable[[World, Path], None],
    error: type[Exception],
    message: str,
) -> None:
    write(world, tmp_path / "captions")
    with pytest.raises(error, match=message):
        stage.run(settings(), world.base, world.frames, tmp_path / "captions", tmp_path / "out")
