"""How much noise there is at each step, and the step from one level to the next that needs no memory of earlier ones.

All families are one: a latent at a step is x = alpha x0 + sigma noise, a forward tells x0 and noise apart, and
x' = alpha' x0 + sigma' noise. For a rectified flow (alpha = 1 - sigma) that is Euler's step; for a variance-preserving
diffusion (alpha^2 + sigma^2 = 1) it is DDIM (arXiv 2010.02502, equation 12 without its random part), which is also
Euler's step in the coordinates x / alpha (arXiv 2206.00364, section 4) and the first order of DPM-Solver++
(arXiv 2211.01095, section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from irgen.errors import WeightsError

Prediction = Literal["flow", "epsilon", "v_prediction"]


@dataclass(frozen=True, slots=True)
class Levels:
    """The noise levels of a denoising.

    Attributes:
        alphas, sigmas: of image and noise at each step, steps + 1 of them; the last is the finished latent's.
        times: what the network is told at each step, [steps].
        prediction: what the network says: the flow's velocity noise - x0, the noise (epsilon), or
            alpha noise - sigma x0 (v_prediction, arXiv 2202.00512 appendix D).
        initial_scale: what standard normal noise is multiplied with to be a latent at step 0. The levels' own sigma,
            or 1 where the sampler takes noise for a whole latent.
    """

    alphas: tuple[float, ...]
    sigmas: tuple[float, ...]
    times: torch.Tensor
    prediction: Prediction
    initial_scale: float = 1.0

    @property
    def steps(self) -> int:
        """Forwards of a whole denoising."""
        return len(self.sigmas) - 1

    def split(self, x: torch.Tensor, predicted: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clean latent and the noise that a latent at a step is made of, by what the network predicted."""
        alpha, sigma = self.alphas[step], self.sigmas[step]
        if self.prediction == "flow":
            clean = x - sigma * predicted
            return clean, clean + predicted
        if self.prediction == "epsilon":
            return (x - sigma * predicted) / alpha, predicted
        return alpha * x - sigma * predicted, sigma * x + alpha * predicted

    def mixed(self, clean: torch.Tensor, noise: torch.Tensor, step: int) -> torch.Tensor:
        """Return the latent at a step."""
        return self.alphas[step] * clean + self.sigmas[step] * noise

    def noised(self, latents: torch.Tensor, from_step: int, to_step: int, noise: torch.Tensor) -> torch.Tensor:
        """Take latents back to an earlier step by fresh noise, so that their law is that of the earlier step.

        x (a_t / a_s) + sqrt(s_t^2 - (a_t / a_s)^2 s_s^2) noise, from level s to level t.

        Args:
            latents: float32 [B, *latent_shape] at `from_step`.
            from_step: 1 to steps.
            to_step: 0 to from_step - 1.
            noise: float32, standard normal, of the latents' shape.

        Raises:
            ValueError: steps out of range or order.
        """
        if not 0 <= to_step < from_step <= self.steps:
            raise ValueError(f"noise from step {from_step} back to step {to_step} of {self.steps}")
        ratio = self.alphas[to_step] / self.alphas[from_step]
        kept = ratio * self.sigmas[from_step]
        added = max(0.0, self.sigmas[to_step] ** 2 - kept**2) ** 0.5
        x = ratio * latents + added * noise
        return x / self.initial_scale if to_step == 0 else x


def diffusion_levels(scheduler: Any, steps: int) -> Levels:
    """Return the levels of a variance-preserving diffusion, where its pipeline's own scheduler puts them.

    DDIM and Euler schedulers make their stock pipeline's steps. DPM-Solver++ uses its own levels, but takes steps of
    first order: the second needs the forward before, which a search that stops and goes on does not have.

    Args:
        scheduler: of the pipeline; its timesteps are set.
        steps: forwards.

    Raises:
        WeightsError: a scheduler that is not deterministic, or whose steps are not these.
    """
    config = scheduler.config
    prediction = config.prediction_type
    clips = config.get("thresholding") or (config.get("clip_sample") and isinstance(scheduler, DDIMScheduler))
    if prediction not in ("epsilon", "v_prediction") or clips:
        raise WeightsError(
            f"the base's scheduler predicts {prediction!r} and {'clips' if clips else 'does not clip'} its estimates",
            "irgen steps with epsilon or v_prediction and without clip_sample and thresholding: mend "
            "scheduler/scheduler_config.json, if the model was trained so.",
        )
    scheduler.set_timesteps(steps)
    if isinstance(scheduler, DDIMScheduler):
        # Each step ends where the next begins, also where `steps` does not divide the training's times.
        kept = [float(scheduler.alphas_cumprod[at]) for at in scheduler.timesteps.tolist()]
        kept.append(float(scheduler.final_alpha_cumprod))
        return _levels([one**0.5 for one in kept], [(1 - one) ** 0.5 for one in kept], scheduler.timesteps, prediction)
    if isinstance(scheduler, EulerDiscreteScheduler | DPMSolverMultistepScheduler):
        if config.get("use_flow_sigmas"):
            raise WeightsError("the base's scheduler has use_flow_sigmas", "Take it out of scheduler_config.json.")
        ratios = scheduler.sigmas.double().tolist()
        alphas = [(1 + ratio**2) ** -0.5 for ratio in ratios]
        sigmas = [ratio * alpha for ratio, alpha in zip(ratios, alphas, strict=True)]
        # Euler's latents are x / alpha, DPM-Solver's are x.
        divided = isinstance(scheduler, EulerDiscreteScheduler)
        scale = float(scheduler.init_noise_sigma) * alphas[0] if divided else 1.0
        return _levels(alphas, sigmas, scheduler.timesteps, prediction, scale)
    raise WeightsError(
        f"the base's scheduler is {type(scheduler).__name__}, whose steps irgen does not make",
        "Name DDIMScheduler, EulerDiscreteScheduler or DPMSolverMultistepScheduler in model_index.json and "
        "scheduler/scheduler_config.json.",
    )


def _levels(
    alphas: list[float], sigmas: list[float], times: torch.Tensor, prediction: Prediction, scale: float = 1.0
) -> Levels:
    return Levels(tuple(alphas), tuple(sigmas), times.clone(), prediction, scale)
