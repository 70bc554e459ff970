"""DiT (arXiv 2212.09748): a diffusion on a transformer that knows ImageNet's classes instead of words.

A prompt is the name of a class ("umbrella") or its number ("879").
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from diffusers import DiTPipeline

from irgen.errors import SettingsError
from irgen.generators.conditions import Rows
from irgen.generators.latents import decoded, encoded
from irgen.generators.levels import diffusion_levels
from irgen.settings import BaseSettings


class Dit:
    """An `engine.Family` over a class-conditioned DiT pipeline."""

    encoders: tuple[torch.nn.Module, ...] = ()

    def __init__(self, pipeline: DiTPipeline, base: BaseSettings, *, steps: int, guidance: float) -> None:
        """Take over a pipeline.

        Args:
            pipeline: with all of its components.
            base: image size, which must be the one that the transformer was trained on.
            steps: of a whole denoising.
            guidance: of classifier-free guidance; 1 or less is none.

        Raises:
            SettingsError: another image size.
            WeightsError: a scheduler that irgen has no steps for.
        """
        config = pipeline.transformer.config
        side = config.sample_size
        side_px = side * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        if (base.height_px, base.width_px) != (side_px, side_px):
            raise SettingsError(
                f"base: {base.model} makes images of {side_px} x {side_px} pixels only, "
                f"not of {base.height_px} x {base.width_px}",
                f"Set base.height_px and base.width_px to {side_px}.",
            )
        self.latent_shape: tuple[int, ...] = (config.in_channels, side, side)
        self.image_size_px = (side_px, side_px)
        self.levels = diffusion_levels(pipeline.scheduler, steps)
        self.guidance = max(1.0, guidance)
        self.denoiser: torch.nn.Module = pipeline.transformer
        self._dtype: torch.dtype = pipeline.transformer.dtype
        self._pipeline = pipeline
        self._classes: int = config.num_embeds_ada_norm

    def check(self, texts: Sequence[str]) -> None:
        """Refuse a prompt that is no class.

        Raises:
            SettingsError: naming the classes that are spelt alike.
        """
        for text in texts:
            if self._label(text) is None:
                near = difflib.get_close_matches(text, self._pipeline.labels, n=3, cutoff=0.0)
                names = f", or a name such as {', '.join(map(repr, near))}" if near else ""
                raise SettingsError(
                    f"prompt {text!r} is no class of the base",
                    f"DiT takes a class's number, 0 to {self._classes - 1}{names}.",
                )

    def encode(self, texts: list[str]) -> Rows:
        """Return the classes' numbers, `label` [B]; no prompt is the class after the last."""
        return {"label": torch.tensor([self._classes if text == "" else self._label(text) for text in texts])}

    def _label(self, text: str) -> int | None:
        if text.isdecimal():
            return int(text) if int(text) < self._classes else None
        label: int | None = self._pipeline.labels.get(text)
        return label

    def forward(self, x: torch.Tensor, times: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the predicted noise; the variance that the network predicts beside it is of no use here."""
        transformer = self._pipeline.transformer
        predicted = transformer(x.to(self._dtype), timestep=times, class_labels=rows["label"], return_dict=False)[0]
        return predicted[:, : self.latent_shape[0]].float()

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents of images in -1..1."""
        return encoded(self._pipeline.vae, images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images in -1..1."""
        return decoded(self._pipeline.vae, latents)
