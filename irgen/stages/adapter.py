"""Stage 04: train the LoRA that turns the base model to infrared.

Output: `pytorch_lora_weights.safetensors` in diffusers' format, `loss.parquet`, `adapter.json` (what it was trained on
and how), and `grid.png`: in rows of at most eight, real frames, then what the base makes of their captions, then what
the adapted base makes of the same captions and noises. With `adapter.train` false it is `adapter.json` alone, which
says so, and the base stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from irgen import files, images, seeds, sources, weights
from irgen.records import Caption, Frame, read_rows
from irgen.settings import AdapterSettings, BaseSettings

if TYPE_CHECKING:
    import numpy as np
    from diffusers import FluxPipeline

    from irgen.generators.examples import Encoded, Example
    from irgen.generators.training import Trainer

VERSION = 3
GRID_STEPS = 20
GRID_GUIDANCE = 3.5
GRID_COLUMNS = 8


def externals(adapter: AdapterSettings, base: BaseSettings) -> dict[str, str]:
    """Name the base's weights."""
    return {"base": weights.identity_of(base)}


def run(adapter: AdapterSettings, base: BaseSettings, frames: Path, captions: Path, out: Path) -> dict[str, Any]:
    """Train the adapter, or carry on from its checkpoint, and draw the sample grid.

    Raises:
        WeightsError: the base is missing or unfit, or the loss is not finite.
        SettingsError: an image size or target module that the base does not have.
        SourceError, StoreError: no training frames, or frames of another split among them.
    """
    if not adapter.train:
        files.write_json(out / "adapter.json", {"base": base.model, "train": False})
        return {"images": 0, "steps": 0}
    from irgen.generators import lora, training

    pipeline, chosen, trainer = _prepared(adapter, base, frames, captions, out)
    trainer.run()
    lora.save(pipeline.transformer, adapter, out)
    training.write_losses(out / "loss.parquet", trainer.losses, adapter, trainer.gentler_from)
    files.write_bytes(out / "grid.png", images.encode(_grid(pipeline, chosen, trainer.encoded, adapter, base), "png"))
    smoothed = training.smoothed(trainer.losses)
    figures = {
        "images": len(chosen),
        "texts": len(trainer.encoded.conditions),
        "steps": adapter.steps,
        "trainable_parameters": sum(one.numel() for one in trainer.parameters.values()),
        "loss_first": round(smoothed[min(len(smoothed), adapter.warmup_steps + 1) - 1], 6),
        "loss_last": round(smoothed[-1], 6),
    }
    files.write_json(out / "adapter.json", {"base": base.model, **adapter.model_dump(mode="json"), "figures": figures})
    return figures


def train(adapter: AdapterSettings, base: BaseSettings, frames: Path, captions: Path, out: Path) -> None:
    """Train the adapter together with other processes (`irgen.ranks`), and leave its last checkpoint for `run`.

    Raises:
        IrgenError: as `run`.
    """
    if not adapter.train:
        return
    from irgen import collective

    _, _, trainer = _prepared(adapter, base, frames, captions, out)
    with collective.joined() as trainer.group:
        trainer.run()
        trainer.checkpoint()


def _prepared(
    adapter: AdapterSettings, base: BaseSettings, frames: Path, captions: Path, out: Path
) -> tuple[FluxPipeline, list[Example], Trainer]:
    """Return the base with an adapter on it, what that shall learn from, and what trains it."""
    from irgen import devices
    from irgen.generators import examples, flow, loading, lora, training

    chosen = examples.training_examples(
        read_rows(frames / "frames.parquet", Frame),
        read_rows(captions / "captions.parquet", Caption),
        sources.root_of(frames),
    )
    pipeline = loading.load_trainable(base)
    latents = flow.latent_shape(pipeline, base)
    parameters = lora.add(pipeline.transformer, adapter)
    encoded = _encode(pipeline, chosen, base)
    pipeline.transformer.to(devices.device())
    if adapter.gradient_checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()
    trainer = training.Trainer(
        flow=flow.Flow(pipeline.transformer, adapter.guidance, latents),
        scheduler=pipeline.scheduler,
        encoded=encoded,
        parameters=parameters,
        settings=adapter,
        scratch=out / files.TMP,
    )
    return pipeline, chosen, trainer


def _encode(pipeline: FluxPipeline, chosen: list[Example], base: BaseSettings) -> Encoded:
    """Encode all examples, then let go of the text encoders: training does not need their memory."""
    from irgen import devices
    from irgen.generators import examples

    device = devices.device()
    pipeline.vae.to(device)
    encoded = examples.encode(pipeline, chosen, base, device)
    pipeline.text_encoder = pipeline.text_encoder_2 = None
    return encoded


def _grid(
    pipeline: FluxPipeline, chosen: list[Example], encoded: Encoded, adapter: AdapterSettings, base: BaseSettings
) -> np.ndarray:
    """Return uint8 [H, W, 3]: real frames, the base's images and the adapted base's, in rows of GRID_COLUMNS."""
    import numpy as np
    import torch

    from irgen.generators import Engine
    from irgen.generators.flux import Flux

    order = seeds.generator(adapter.seed, 0, "adapter-grid").permutation(len(chosen))[: adapter.grid_images].tolist()
    family = Flux(pipeline, base, steps=GRID_STEPS, guidance=GRID_GUIDANCE)
    generator = Engine(family, adapter.batch_size, base.decode_batch)
    conditions = encoded.conditions.take([encoded.text_rows[one] for one in order]).to(pipeline.transformer.device)
    noises = [seeds.generator(adapter.seed, one, "adapter-grid-noise") for one in order]
    noise = torch.from_numpy(np.stack([one.standard_normal(generator.latent_shape, np.float32) for one in noises]))
    real = np.stack([images.resize(images.read_rgb(chosen[one].path), base.width_px, base.height_px) for one in order])
    adapted = generator.decode(generator.denoise(noise, conditions, 0, generator.steps).latents)
    pipeline.transformer.disable_adapters()
    plain = generator.decode(generator.denoise(noise, conditions, 0, generator.steps).latents)
    pipeline.transformer.enable_adapters()
    return _tiled([real, plain, adapted])


def _tiled(kinds: list[np.ndarray]) -> np.ndarray:
    """Lay out uint8 [N, h, w, 3] of several kinds as one image: the kinds under one another, GRID_COLUMNS across."""
    import numpy as np

    count, height, width, _ = kinds[0].shape
    columns = min(GRID_COLUMNS, count)
    rows = []
    for start in range(0, count, columns):
        for images_u8 in kinds:
            row = np.zeros((height, width * columns, 3), np.uint8)
            part = np.concatenate(list(images_u8[start : start + columns]), axis=1)
            row[:, : part.shape[1]] = part
            rows.append(row)
    return np.concatenate(rows)
