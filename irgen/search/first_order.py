"""First-order search: gradient ascent on the noise (arXiv 2501.09732 section 3.2).

The gradient of the verifier's score goes back through the decoder and the last K denoising steps, to the latent there.
The steps before are taken for a multiple of the identity, as DRaFT-K (arXiv 2309.17400) leaves them out for weights:
with K = steps the gradient is exact, with K = 1 it costs what four forwards do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, cast

import numpy as np
import torch

from irgen.errors import SettingsError
from irgen.search import noises
from irgen.search.bench import Bench, Track
from irgen.search.candidates import Found
from irgen.search.interface import (
    BACKWARD_FORWARDS,
    C,
    Differentiable,
    DifferentiableVerifier,
    Generator,
    Prompt,
    Verifier,
)
from irgen.search.noises import Ascent
from irgen.search.random import independent
from irgen.settings import FirstOrderSearch


def first_order(
    generator: Generator[C],
    verifier: Verifier,
    prompts: Sequence[Prompt],
    settings: FirstOrderSearch,
    *,
    seed: int,
    attempt: int,
    batch: int,
    all_images: bool = False,
) -> list[Found]:
    """Step uphill from the best noise so far, with half the rate where the last step did not lead up.

    NFE = steps x (warm_start + iterations) + 4 x gradient_steps for each pivot, of which there are `iterations` at
    most: a pivot that stays keeps its gradient. A prompt ends early where its gradient is zero or not finite.

    Raises:
        SettingsError: a generator or a verifier without gradients.
    """
    slope = Slope(generator, verifier, settings.gradient_steps)
    bench = Bench(generator, verifier, prompts, batch, all_images)
    climbs = [_Climb(bench, row, settings) for row in range(len(prompts))]
    _render(bench, climbs, independent(bench, settings.warm_start, seed, attempt))
    for _ in range(settings.iterations):
        _render(bench, climbs, [track for climb in climbs if (track := climb.uphill(slope)) is not None])
    return bench.done()


def first_order_nfe(settings: FirstOrderSearch, steps: int) -> int:
    """Return the most forwards that the search may spend."""
    way_back = (1 + BACKWARD_FORWARDS) * settings.gradient_steps
    return steps * (settings.warm_start + settings.iterations) + way_back * settings.iterations


class Slope(Generic[C]):
    """The gradient of a score by a latent.

    Attributes:
        from_step: where the latent is.
    """

    def __init__(self, generator: Generator[C], verifier: Verifier, steps: int) -> None:
        """Take a generator and a verifier, and how many denoising steps the gradient goes through.

        Raises:
            SettingsError: one of them has no gradients.
        """
        for one, kind in ((generator, Differentiable), (verifier, DifferentiableVerifier)):
            if not isinstance(one, kind):
                raise SettingsError(
                    f"first_order needs gradients, which {type(one).__name__} does not give",
                    "Take another algorithm (samples.search), or let IRSCORE guide (samples.guide).",
                )
        self._generator = cast("Differentiable[C]", generator)
        self._verifier = cast(DifferentiableVerifier, verifier)
        self.from_step = generator.steps - steps

    def at(self, latents: torch.Tensor, conditions: C, caption: str) -> np.ndarray:
        """Return the gradient for one image, float32 [*latent_shape], by its latent at `from_step`.

        One at a time: the way back through a batch would fill the memory, and rows could depend on each other.
        """
        # A copy made here, outside the generator's inference mode, is one that gradients can be taken by.
        leaf = latents[None].clone().requires_grad_()
        with torch.enable_grad():
            score = self._verifier.score_pixels(self._generator.pixels(leaf, conditions, self.from_step), [caption])
            (gradient,) = torch.autograd.grad(score.sum(), leaf)
        return np.asarray(gradient[0].float().cpu().numpy())


@dataclass(slots=True)
class _Climb(Generic[C]):
    """One prompt's way up.

    Attributes:
        bench: where it happens.
        row: of the prompt.
        settings: of the search.
        noises: of each candidate, float32 [*latent_shape].
        late: of each candidate, its latents where gradients are taken.
        pivot: the candidate that the last step went up from.
        gradient: there; None where it leads nowhere.
        rate: of the last step.
    """

    bench: Bench[C]
    row: int
    settings: FirstOrderSearch
    noises: dict[int, np.ndarray] = field(default_factory=dict)
    late: dict[int, torch.Tensor] = field(default_factory=dict)
    pivot: int = -1
    gradient: np.ndarray | None = None
    rate: float = 0.0

    def uphill(self, slope: Slope[C]) -> Track | None:
        """Begin a candidate up the pivot's gradient; None where there is no way up."""
        found = self.bench.found[self.row]
        best = found.kept
        if best is None:
            return None
        if best.number == self.pivot:
            self.rate /= 2
        else:
            self.pivot, self.rate = best.number, self.settings.rate
            before = self.bench.generator.nfe
            conditions = self.bench.conditions.take([self.row])
            gradient = slope.at(self.late[best.number], conditions, found.prompt.caption)
            spent = self.bench.generator.nfe - before
            found.candidates[best.number] = replace(best, nfe=best.nfe + spent)
            self.gradient = gradient if np.isfinite(gradient).all() and gradient.any() else None
        if self.gradient is None:
            return None
        noise = noises.ascended(self.noises[self.pivot], self.gradient, self.rate)
        recipe = best.recipe.changed(Ascent(self.rate, self.settings.gradient_steps))
        return self.bench.begin(self.row, recipe, latents=torch.from_numpy(noise))


def _render(bench: Bench[C], climbs: Sequence[_Climb[C]], tracks: Sequence[Track]) -> None:
    """Take candidates to the end, and keep what a step up from them needs."""
    for track in tracks:
        climbs[track.row].noises[track.number] = bench.noise(track).numpy()
    from_step = bench.generator.steps - climbs[0].settings.gradient_steps if climbs else 0
    if from_step:
        bench.advance(tracks, from_step)
    whole = [track for track in tracks if not bench.candidate(track).dead]
    for track in whole:
        climbs[track.row].late[track.number] = bench.noise(track)
    bench.advance(whole, bench.generator.steps)
