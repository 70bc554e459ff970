"""Latents as each base's denoiser sees them, on a real autoencoder."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from irgen.generators.latents import decoded, encoded

MEAN, SD = [0.5, -1.0, 2.0, 0.0], [2.0, 0.5, 1.0, 4.0]


def autoencoder(**config: Any) -> AutoencoderKL:
    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    return AutoencoderKL(down_block_types=down, up_block_types=up, latent_channels=4, **blocks, **config).eval()


@pytest.mark.parametrize(
    ("config", "mean", "sd"),
    [
        ({"scaling_factor": 0.25}, [0.0] * 4, [1.0] * 4),
        ({"scaling_factor": 0.25, "shift_factor": 0.5}, [0.5] * 4, [1.0] * 4),
        ({"scaling_factor": 0.25, "latents_mean": MEAN, "latents_std": SD}, MEAN, SD),
    ],
    ids=["scaled", "shifted", "by channel"],
)
@torch.no_grad()
def test_latents_are_shifted_and_scaled_as_the_config_says_and_back(
    config: dict[str, Any], mean: list[float], sd: list[float]
) -> None:
    vae = autoencoder(**config)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    raw = vae.encode(images).latent_dist.mean
    shift, spread = (torch.tensor(one).view(1, 4, 1, 1) for one in (mean, sd))
    latents = encoded(vae, images)
    assert torch.equal(latents, (raw - shift) / spread * 0.25)
    torch.testing.assert_close(decoded(vae, latents), vae.decode(raw).sample)


@torch.no_grad()
def test_a_half_precision_autoencoder_gives_latents_in_float32() -> None:
    vae = autoencoder(scaling_factor=0.5).to(torch.bfloat16)
    latents = encoded(vae, torch.zeros(1, 3, 16, 16))
    assert latents.dtype == torch.float32 and decoded(vae, latents).dtype == torch.bfloat16
