"""A search by irgen against a plain loop of the kind that public code has: the same noises, the same winners.

The plain loop calls the stock pipeline once a candidate, which encodes the text each time; saves every candidate as
PNG; scores it alone, with its texts; and, in zero-order search, renders the pivot again with its neighbours each round.
irgen encodes a text once, denoises and decodes candidates of all prompts in batches, and saves what is kept.

    python benchmarks/search_overhead.py --json
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import alternating  # first: it sets the threads
import command
import numpy as np
import small_flux
import torch
from diffusers import FluxPipeline
from PIL import Image
from small_flux import SMALL, TINY, Bench

from irgen import seeds
from irgen.captions import forms
from irgen.search import Prompt, Recipe, noises, search
from irgen.search.noises import Perturbation
from irgen.settings import RandomSearch, ZeroOrderSearch

RANDOM = RandomSearch(candidates=6)
ZERO_ORDER = ZeroOrderSearch(warm_start=4, neighbours=4, iterations=2)
BATCH = 8
SEED = 0
Render = Callable[[Prompt, Recipe], float]


def irgen_search(bench: Bench, settings: RandomSearch | ZeroOrderSearch, out: Path) -> list[str]:
    """Search with irgen and save the winners; return their recipes."""
    found = search(bench.generator, bench.verifier, bench.prompts, settings, seed=SEED, attempt=0, batch=BATCH)
    winners = []
    for one in found:
        assert one.kept is not None
        Image.fromarray(one.images[one.kept.number]).save(out / f"{one.prompt.index}.png")
        winners.append(json.dumps(one.kept.recipe.to_json()))
    return winners


def plain_search(bench: Bench, settings: RandomSearch | ZeroOrderSearch, out: Path) -> list[str]:
    """Do the same work one candidate after another; return the winners' recipes."""
    winners = []
    for prompt in bench.prompts:
        render = partial(_render, bench, out)
        best = (
            _random(prompt, settings, render)
            if isinstance(settings, RandomSearch)
            else _climb(prompt, settings, render)
        )
        winners.append(json.dumps(best.to_json()))
    return winners


def _random(prompt: Prompt, settings: RandomSearch, render: Render) -> Recipe:
    recipes = [_fresh(prompt, number) for number in range(settings.candidates)]
    return _best(prompt, recipes, render)


def _climb(prompt: Prompt, settings: ZeroOrderSearch, render: Render) -> Recipe:
    pivot = _best(prompt, [_fresh(prompt, number) for number in range(settings.warm_start)], render)
    for iteration in range(settings.iterations):
        directions = [
            seeds.derive(SEED, prompt.index, f"neighbour/{iteration}/{number}") for number in range(settings.neighbours)
        ]
        around = [pivot.changed(Perturbation(direction, settings.cosine)) for direction in directions]
        pivot = _best(prompt, [pivot, *around], render)
    return pivot


def _fresh(prompt: Prompt, number: int) -> Recipe:
    return Recipe(seeds.derive(SEED, prompt.index, f"noise/{number}"))


def _best(prompt: Prompt, recipes: list[Recipe], render: Render) -> Recipe:
    scores = [render(prompt, recipe) for recipe in recipes]
    return recipes[int(np.argmax(scores))]


def _render(bench: Bench, out: Path, prompt: Prompt, recipe: Recipe) -> float:
    """Make one image as `FluxPipeline` does, save it, and return its score."""
    latents = torch.from_numpy(noises.make(recipe, bench.generator.latent_shape))[None]
    image = bench.pipeline(
        prompt.text,
        latents=FluxPipeline._pack_latents(latents, *latents.shape),
        num_inference_steps=small_flux.STEPS,
        guidance_scale=small_flux.GUIDANCE,
        height=small_flux.HEIGHT_PX,
        width=small_flux.WIDTH_PX,
        max_sequence_length=small_flux.T5_TOKENS,
    ).images[0]
    image.save(out / f"{len(list(out.iterdir()))}.png")
    return _score(bench, image, prompt.caption)


@torch.inference_mode()
def _score(bench: Bench, image: Image.Image, caption: str) -> float:
    clip, alpha = bench.verifier.clip, bench.verifier.alpha
    features = clip.encode_images(clip.resize(np.array(image)[None]))
    infrared, grayscale = clip.encode_texts(clip.tokenizer([forms.infrared(caption), forms.grayscale(caption)]))
    return float((1 - alpha) * features[0] @ infrared - alpha * features[0] @ grayscale)


def measure(size: small_flux.Size, pairs: int, algorithms: dict[str, Any]) -> dict[str, Any]:
    """Return plain / irgen CPU time of each algorithm on a model, and whether their winners are the same."""
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = small_flux.build(Path(folder) / "flux", size, BATCH)
        for name, settings in algorithms.items():
            won: dict[str, list[str]] = {}

            def run(how: Callable[..., list[str]], settings: Any = settings, won: dict[str, list[str]] = won) -> None:
                with tempfile.TemporaryDirectory(dir=folder) as out:
                    won[how.__name__] = how(bench, settings, Path(out))

            before = bench.generator.nfe
            run(irgen_search)
            nfe = bench.generator.nfe - before
            times = alternating.compare(partial(run, plain_search), partial(run, irgen_search), pairs)
            report[name] = times | {"same_winners": won["plain_search"] == won["irgen_search"], "nfe": nfe}
        report["parameters"] = bench.parameters
    return report


def main() -> None:
    options = command.parser(__doc__, pairs=3).parse_args()
    tiny = measure(TINY, options.pairs, {"random": RANDOM, "zero_order": ZERO_ORDER})
    small = measure(SMALL, max(1, options.pairs // 2), {"random": RANDOM})
    report = {**tiny, "random_20m": small["random"] | {"parameters": small["parameters"]}}
    for name in ("random", "zero_order", "random_20m"):
        one = report[name]
        print(
            f"{name:12} plain loop {one['cpu_s_compared']:7.2f} CPU-s, irgen {one['cpu_s']:7.2f}: "
            f"{one['ratio']:.2f} times, {'same winners' if one['same_winners'] else 'OTHER WINNERS'}"
        )
    command.finish(options, report)


if __name__ == "__main__":
    main()
