"""irgen's engine against a bare loop of transformer, decoding and scoring on a 20 M-parameter FLUX.

The bare loop has the texts encoded, the noises and the time steps ready, and keeps nothing: what it takes is the least
that the same forwards, decodings and scores, in the same batches, can take.

    python benchmarks/engine_overhead.py --json
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import alternating  # first: it sets the threads
import command
import numpy as np
import small_flux
import torch
from diffusers import FluxPipeline
from small_flux import SMALL, Bench

from irgen import seeds
from irgen.search import Recipe, noises, search
from irgen.settings import RandomSearch

CANDIDATES, BATCH = 2, 8
SEED = 0


def engine(bench: Bench) -> list[float]:
    """Search with irgen; return every candidate's score."""
    found = search(
        bench.generator,
        bench.verifier,
        bench.prompts,
        RandomSearch(candidates=CANDIDATES),
        seed=SEED,
        attempt=0,
        batch=BATCH,
    )
    return [candidate.score for one in found for candidate in one.candidates]


class Bare:
    """The same work without irgen."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        pipeline = bench.pipeline
        jobs = [(prompt, number) for prompt in bench.prompts for number in range(CANDIDATES)]
        recipes = [Recipe(seeds.derive(SEED, prompt.index, f"noise/{number}")) for prompt, number in jobs]
        latents = torch.from_numpy(np.stack([noises.make(one, bench.generator.latent_shape) for one in recipes]))
        self.shape = latents.shape[1:]
        self.noise = FluxPipeline._pack_latents(latents, *latents.shape)
        texts = [prompt.text for prompt, _ in jobs]
        with torch.no_grad():
            self.states, self.pooled, self.text_ids = pipeline.encode_prompt(
                texts, None, max_sequence_length=small_flux.T5_TOKENS
            )
        self.captions = [prompt.caption for prompt, _ in jobs]
        self.forms = bench.verifier.forms(self.captions)
        _, height, width = self.shape
        self.image_ids = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float32)
        self.sigmas = bench.generator.family.levels.sigmas
        self.guidance = torch.full([BATCH], small_flux.GUIDANCE)

    @torch.inference_mode()
    def __call__(self) -> list[float]:
        """Denoise, decode and score in batches; return the scores."""
        clip, alpha = self.bench.verifier.clip, self.bench.verifier.alpha
        scores: list[float] = []
        for start in range(0, len(self.noise), BATCH):
            rows = slice(start, start + BATCH)
            images = self._decoded(self._denoised(rows))
            features = clip.encode_images(clip.resize(images))
            cosines = torch.einsum("bd,bfd->bf", features, self.forms[rows])
            scores += ((1 - alpha) * cosines[:, 0] - alpha * cosines[:, 1]).tolist()
        return scores

    def _denoised(self, rows: slice) -> torch.Tensor:
        x, transformer = self.noise[rows], self.bench.pipeline.transformer
        for now, then in zip(self.sigmas, self.sigmas[1:], strict=False):
            velocity = transformer(
                hidden_states=x,
                timestep=torch.full([BATCH], now),
                guidance=self.guidance,
                pooled_projections=self.pooled[rows],
                encoder_hidden_states=self.states[rows],
                txt_ids=self.text_ids,
                img_ids=self.image_ids,
                return_dict=False,
            )[0]
            x = x + (then - now) * velocity
        return x

    def _decoded(self, x: torch.Tensor) -> np.ndarray:
        vae = self.bench.pipeline.vae
        factor = self.bench.pipeline.vae_scale_factor
        latents = FluxPipeline._unpack_latents(x, small_flux.HEIGHT_PX, small_flux.WIDTH_PX, factor)
        images = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
        return ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def measure(size: small_flux.Size, pairs: int) -> dict[str, Any]:
    """Return engine / bare CPU time, and how far their scores are apart at most."""
    with tempfile.TemporaryDirectory() as folder:
        bench = small_flux.build(Path(folder), size, BATCH)
        bare = Bare(bench)
        apart = float(np.abs(np.array(engine(bench)) - np.array(bare())).max())
        times = alternating.compare(lambda: engine(bench), bare, pairs)
        return times | {"scores_apart": apart, "parameters": bench.parameters}


def main() -> None:
    options = command.parser(__doc__, pairs=5).parse_args()
    report = measure(SMALL, options.pairs)
    print(
        f"engine {report['cpu_s_compared']:.2f} CPU-s, bare loop {report['cpu_s']:.2f}: {report['ratio']:.3f} times, "
        f"scores within {report['scores_apart']:.1e}"
    )
    command.finish(options, report)


if __name__ == "__main__":
    main()
