"""irgen's LoRA steps against a plain training loop in the manner of diffusers' example scripts: the same losses.

Both train the same adapter on the miniature's base, from the same data order, noises and sigmas. The plain loop is
measured twice: with latents and text embeddings at hand, as irgen keeps them, and encoding both anew in each step.

    python benchmarks/lora_step.py --json
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alternating  # first: it sets the threads
import command
import numpy as np
import torch
from diffusers import FluxPipeline
from PIL import Image
from small_flux import CAPTIONS, HEIGHT_PX, T5_TOKENS, WIDTH_PX

from irgen import devices, seeds
from irgen.captions import forms
from irgen.generators import examples, flow, loading, lora, training
from irgen.settings import MINIATURE, AdapterSettings, BaseSettings

BASE = BaseSettings(
    model=MINIATURE, height_px=HEIGHT_PX, width_px=WIDTH_PX, max_sequence_length=T5_TOKENS, precision="fp32"
)
SETTINGS = AdapterSettings(
    steps=10**6, batch_size=4, gradient_accumulation=1, warmup_steps=1, gradient_checkpointing=False
)
IMAGES, STEPS = 24, 8
TOLERANCE = 1e-5
CPU = torch.device("cpu")


def pictures(folder: Path) -> list[examples.Example]:
    """Draw images to learn from: what they show is of no matter here."""
    rng = seeds.generator(0, "benchmark", "lora")
    made = []
    for number in range(IMAGES):
        coarse = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(coarse).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC).save(path)
        made.append(examples.Example(str(number), path, forms.infrared(CAPTIONS[number % len(CAPTIONS)])))
    return made


def trainer(chosen: list[examples.Example], scratch: Path) -> tuple[training.Trainer, FluxPipeline]:
    """Set up as the adapter stage does."""
    pipeline = loading.load_trainable(BASE)
    encoded = examples.encode(pipeline, chosen, BASE, CPU)
    parameters = lora.add(pipeline.transformer, SETTINGS)
    velocity = flow.Flow(pipeline.transformer, SETTINGS.guidance, flow.latent_shape(pipeline, BASE))
    return training.Trainer(velocity, pipeline.scheduler, encoded, parameters, SETTINGS, scratch), pipeline


@dataclass
class Plain:
    """The loop of diffusers' train_dreambooth_lora_flux, less what serves several GPUs.

    Attributes:
        like: a trainer whose draws it takes: examples, noises and sigmas.
        pipeline: with an adapter of its own.
        chosen: what is learnt from.
        cached: whether latents and embeddings are at hand, or encoded in each step.
    """

    like: training.Trainer
    pipeline: FluxPipeline
    chosen: list[examples.Example]
    cached: bool
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        transformer = self.pipeline.transformer
        self.parameters = [one for one in transformer.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay
        )
        count, _, height, width = self.like.encoded.mean.shape
        self.image_ids = FluxPipeline._prepare_latent_image_ids(count, height // 2, width // 2, CPU, torch.float32)

    def run(self, steps: int) -> None:
        """Take some more steps."""
        for _ in range(steps):
            first = len(self.losses) * SETTINGS.batch_size
            self._step([self.like._draw(position) for position in range(first, first + SETTINGS.batch_size)])

    def _step(self, drawn: list[Any]) -> None:
        rows = [row for row, *_ in drawn]
        noise, even = (torch.stack([one[place] for one in drawn]) for place in (2, 3))
        latents = torch.stack([one[1] for one in drawn])
        if self.cached:
            rows_of_text = self.like.encoded.conditions.take([self.like.encoded.text_rows[row] for row in rows]).rows
            prompt, pooled = rows_of_text["prompt"], rows_of_text["pooled"]
        else:
            self._encode_images(rows)  # its draw from the posterior is the one of `latents`
            with torch.no_grad():
                texts = [self.chosen[row].text for row in rows]
                prompt, pooled, _ = self.pipeline.encode_prompt(texts, None, max_sequence_length=T5_TOKENS)
        sigmas = flow.shifted(self.pipeline.scheduler, even, tuple(latents.shape[1:]))
        at = sigmas[:, None, None, None]
        noisy = (1.0 - at) * latents + at * noise
        predicted = self.pipeline.transformer(
            hidden_states=FluxPipeline._pack_latents(noisy, *noisy.shape),
            timestep=sigmas,
            guidance=torch.full([len(rows)], SETTINGS.guidance),
            pooled_projections=pooled,
            encoder_hidden_states=prompt,
            txt_ids=torch.zeros(prompt.shape[1], 3),
            img_ids=self.image_ids,
            return_dict=False,
        )[0]
        velocity = FluxPipeline._unpack_latents(predicted, *noisy.shape[2:], 1)
        weighting = torch.ones_like(sigmas)[:, None, None, None]
        loss = (weighting * (velocity - (noise - latents)) ** 2).reshape(len(rows), -1).mean(1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, training.MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())

    def _encode_images(self, rows: list[int]) -> torch.Tensor:
        with torch.no_grad():
            pixels = torch.cat([examples._image(self.chosen[row].path, BASE) for row in rows])
            vae = self.pipeline.vae
            latents = vae.encode(pixels).latent_dist.sample()
            return (latents - vae.config.shift_factor) * vae.config.scaling_factor


def measure(cached: bool, pairs: int) -> dict[str, Any]:
    """Return plain / irgen CPU time of some steps, and how far their losses are apart at most."""
    devices.device()  # as each stage asks: from then on the process keeps freed memory, for both ways alike
    with tempfile.TemporaryDirectory() as folder, loading.quiet():
        chosen = pictures(Path(folder))
        ours, _ = trainer(chosen, Path(folder))
        like, pipeline = trainer(chosen, Path(folder))
        plain = Plain(like, pipeline, chosen, cached)

        def our_steps() -> None:
            for _ in range(STEPS):
                ours._step()

        times = alternating.compare(lambda: plain.run(STEPS), our_steps, pairs)
        apart = np.abs(np.array(ours.losses) - np.array(plain.losses)) / np.array(plain.losses)
    return times | {"losses_apart": float(f"{apart.max():.2g}"), "same_losses": bool(apart.max() <= TOLERANCE)}


def main() -> None:
    options = command.parser(__doc__, pairs=15).parse_args()
    report = {"cached": measure(True, options.pairs), "encoding": measure(False, options.pairs)}
    for name, one in report.items():
        print(
            f"{name:9} plain loop {one['cpu_s_compared']:6.2f} CPU-s, irgen {one['cpu_s']:6.2f}: {one['ratio']:.2f} "
            f"times, losses within {one['losses_apart']:.1e}"
        )
    command.finish(options, report)


if __name__ == "__main__":
    main()
