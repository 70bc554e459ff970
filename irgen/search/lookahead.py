"""Previews that look ahead: what the finished image will be, told from two clean-image estimates and no more forwards.

Each forward estimates the clean image, x_t - sigma_t v, and the estimate changes from step to step in much the same
direction: early ones are blurred, later ones less so. So a preview is the last estimate, carried on along its last
change, as multistep solvers do to make a step of second order (DPM-Solver++(2M), arXiv 2211.01095, section 4.2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from irgen.search.interface import C, Generator

AHEAD = 0.1
"""Part of the whole denoising by which an estimate is carried on, at the rate of its last step.

Chosen on the miniature, by the rank correlation of previews with the finished images' IRSCORE; what it brings there
`benchmarks/search_miniature.py` prints as `preview_rank`.
"""


class Reached(NamedTuple):
    """Where candidates are.

    Attributes:
        latents: float32 [B, *latent_shape] at the step reached.
        clean: of the last forward, for the next preview.
        shown: to be decoded: the finished latents at the end, else what the image promises to be.
    """

    latents: torch.Tensor
    clean: torch.Tensor
    shown: torch.Tensor


def advance(
    generator: Generator[C],
    latents: torch.Tensor,
    conditions: C,
    from_step: int,
    to_step: int,
    before: torch.Tensor | None,
) -> Reached:
    """Denoise from one step to another and look ahead; what is shown at a step does not depend on stops before it.

    Args:
        generator: makes the forwards, one a step.
        latents: float32 [B, *latent_shape] at `from_step`.
        conditions: B rows.
        from_step: 0 to `to_step` - 1.
        to_step: 1 to the generator's steps.
        before: `Reached.clean` at `from_step`; None at the beginning, and of latents that were made otherwise.
    """
    if to_step == generator.steps:
        done = generator.denoise(latents, conditions, from_step, to_step)
        return Reached(done.latents, done.clean, done.latents)
    if to_step - from_step > 1:
        nearly = generator.denoise(latents, conditions, from_step, to_step - 1)
        latents, before = nearly.latents, nearly.clean
    last = generator.denoise(latents, conditions, to_step - 1, to_step)
    change = torch.zeros_like(last.clean) if before is None else last.clean - before
    return Reached(last.latents, last.clean, last.clean + AHEAD * generator.steps * change)
