"""A candidate made again from its recipe alone."""

from __future__ import annotations

import numpy as np
import torch

from irgen.search import noises
from irgen.search.first_order import Slope
from irgen.search.interface import C, Generator, Prompt, Verifier
from irgen.search.noises import Ascent, Perturbation, Recipe


def remake(generator: Generator[C], verifier: Verifier, prompt: Prompt, recipe: Recipe) -> np.ndarray:
    """Make the image of a recipe, uint8 [height, width, 3]; only ascents ask the verifier.

    Raises:
        SettingsError: the recipe has ascents, and the generator or the verifier no gradients.
    """
    conditions = generator.encode([prompt.text])
    shape = generator.latent_shape
    latents, step = torch.from_numpy(noises.draw(recipe.seed, shape))[None], 0
    for change in recipe.changes:
        if isinstance(change, Perturbation):
            direction = noises.draw(change.seed, shape)
            latents = torch.from_numpy(noises.neighbour(latents[0].numpy(), direction, change.cosine))[None]
        elif isinstance(change, Ascent):
            slope = Slope(generator, verifier, change.steps)
            late = latents
            if slope.from_step:
                late = generator.denoise(latents, conditions, 0, slope.from_step).latents
            gradient = slope.at(late[0], conditions, prompt.caption)
            latents = torch.from_numpy(noises.ascended(latents[0].numpy(), gradient, change.rate))[None]
        else:
            latents = generator.denoise(latents, conditions, step, change.from_step).latents
            fresh = torch.from_numpy(noises.draw(change.seed, shape))[None]
            latents, step = generator.noised(latents, change.from_step, change.to_step, fresh), change.to_step
    return generator.decode(generator.denoise(latents, conditions, step, generator.steps).latents)[0]
