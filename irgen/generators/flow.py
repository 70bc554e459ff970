"""FLUX's flow: the velocity field, and where on the way from noise to image a step is.

A latent at sigma is x = (1 - sigma) x0 + sigma noise, hence v = dx/dsigma = noise - x0 and x0 = x - sigma v
(rectified flow, arXiv 2209.03003; as FLUX uses it, arXiv 2403.03206 section 3).
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from irgen.generators.conditions import Rows
from irgen.generators.levels import Levels
from irgen.generators.shapes import fitting_latents
from irgen.settings import BaseSettings


class Flow:
    """The velocity field of a FLUX transformer at one latent size.

    Attributes:
        transformer: on the device where it shall run.
        guidance: embedded guidance; without effect on a base that is not guidance-distilled.
        dtype, device: of the transformer's weights.
    """

    def __init__(self, transformer: FluxTransformer2DModel, guidance: float, latent_shape: tuple[int, ...]) -> None:
        self.transformer = transformer
        self.guidance = guidance
        # A model's `dtype` and `device` walk through all its modules: looked up once, not for every forward.
        self.dtype: torch.dtype = transformer.dtype
        self.device: torch.device = transformer.device
        _, height, width = latent_shape
        self._image_ids = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, self.device, self.dtype)

    def velocity(self, latents: torch.Tensor, sigmas: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the velocity noise - x0, float32 [B, C, h, w].

        Args:
            latents: float32 [B, C, h, w].
            sigmas: float32 [B], 1 noise .. 0 image.
            rows: `prompt` [B, tokens, width], T5's states, and `pooled` [B, width], CLIP's pooled state.
        """
        count, channels, height, width = latents.shape
        dtype, device = self.dtype, latents.device
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full([count], self.guidance, device=device, dtype=torch.float32)
        predicted = self.transformer(
            hidden_states=FluxPipeline._pack_latents(latents, count, channels, height, width).to(dtype),
            timestep=sigmas.to(dtype),
            guidance=guidance,
            pooled_projections=rows["pooled"],
            encoder_hidden_states=rows["prompt"],
            txt_ids=torch.zeros(rows["prompt"].shape[1], 3, device=device, dtype=dtype),
            img_ids=self._image_ids,
            return_dict=False,
        )[0]
        return FluxPipeline._unpack_latents(predicted.float(), height, width, 1)


def latent_shape(pipeline: FluxPipeline, base: BaseSettings) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image's latents.

    Raises:
        SettingsError: the image size is no multiple of the autoencoder's factor times the transformer's 2 x 2 patch.
    """
    factor = pipeline.vae_scale_factor
    return fitting_latents(base, pipeline.transformer.config.in_channels // 4, factor, 2 * factor)


def sampling_levels(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, latents: tuple[int, ...]) -> Levels:
    """Return FluxPipeline's schedule; its times are 1 noise .. 0 image.

    Args:
        scheduler: of the pipeline; its timesteps are set.
        steps: forwards.
        latents: (channels, height, width); larger images are shifted towards noise where the scheduler says so.
    """
    # As FluxPipeline.__call__: with `use_flow_sigmas` the scheduler spaces them itself.
    own = scheduler.config.get("use_flow_sigmas", False)
    even = None if own else np.linspace(1.0, 1 / steps, steps)
    scheduler.set_timesteps(steps if own else None, sigmas=even, mu=_shift(scheduler, latents))
    sigmas = scheduler.sigmas.tolist()
    times = scheduler.timesteps / scheduler.config.num_train_timesteps
    return Levels(tuple(1 - sigma for sigma in sigmas), tuple(sigmas), times, "flow")


def shifted(scheduler: FlowMatchEulerDiscreteScheduler, even: torch.Tensor, latents: tuple[int, ...]) -> torch.Tensor:
    """Shift sigmas in (0, 1) towards noise as sampling does (arXiv 2403.03206, equation 23)."""
    if scheduler.config.use_dynamic_shifting:
        return scheduler.time_shift(_shift(scheduler, latents), 1.0, even)
    return scheduler.shift * even / (1 + (scheduler.shift - 1) * even)


def _shift(scheduler: FlowMatchEulerDiscreteScheduler, latents: tuple[int, ...]) -> float:
    tokens = (latents[1] // 2) * (latents[2] // 2)
    config = scheduler.config
    return calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
