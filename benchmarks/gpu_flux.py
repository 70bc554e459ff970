"""FLUX.1-dev on this GPU, with random weights of the true sizes: how near to the card's own rate of bf16 products.

Everything is bf16 at 512x640, 28 steps, 512 text tokens. Measured: the 8192^3 product; forwards of several batches,
eager and compiled; decoding, scoring by a ViT-B-32 and encoding PNGs; the stock pipeline, one image after another; and
a LoRA step with and without gradient checkpointing. Needs no weights and no network, and ends within ten minutes.

    python benchmarks/gpu_flux.py --json
    python benchmarks/gpu_flux.py --small --json    the same code on a small model, on a CPU too
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import command
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch.utils.flop_counter import FlopCounterMode

from irgen import images
from irgen.generators import Engine, lora, placing
from irgen.generators.conditions import Conditions
from irgen.generators.engine import to_uint8
from irgen.generators.flow import Flow
from irgen.generators.flux import Flux
from irgen.generators.sizes import PUBLISHED
from irgen.settings import AdapterSettings, BaseSettings

STEPS, NFE, GUIDANCE = 28, 336, 3.5
HALVING = ((20, 10), (12, 18), (4, 28))
"""(candidates, until step): 336 NFE and 36 decodings."""
SEED = 0


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        transformer, vae: configs of diffusers.
        base: image size and text tokens.
        batches: of forwards; the first is the one that is compiled for.
        product: side of the square product that the rate is compared with.
        clip: open_clip architecture, and side of its input.
        timed: forwards that are timed.
    """

    transformer: dict[str, Any]
    vae: dict[str, Any]
    base: BaseSettings
    batches: tuple[int, ...]
    product: int
    clip: tuple[str, int]
    timed: int


def true_size() -> Case:
    _, parts = PUBLISHED["black-forest-labs/FLUX.1-dev"]
    base = BaseSettings(height_px=512, width_px=640, max_sequence_length=512)
    return Case(parts["transformer"].config, parts["vae"].config, base, (4, 1, 2, 8), 8192, ("ViT-B-32", 224), 8)


def small_size() -> Case:
    transformer = {
        "num_layers": 1,
        "num_single_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 32,
        "axes_dims_rope": (8, 12, 12),
        "joint_attention_dim": 32,
        "pooled_projection_dim": 16,
        "guidance_embeds": True,
    }
    _, parts = PUBLISHED["black-forest-labs/FLUX.1-dev"]
    vae = parts["vae"].config | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    base = BaseSettings(height_px=64, width_px=64, max_sequence_length=16)
    return Case(transformer, vae, base, (2, 1), 256, ("ViT-B-32", 224), 1)


def made(kind: Any, config: dict[str, Any], device: torch.device) -> Any:
    """Make a network with random weights in bf16, where it shall be."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            return kind(**config)
    finally:
        torch.set_default_dtype(before)


class Rig:
    """A FLUX with random weights on a device, and inputs for it.

    Attributes:
        case: what is measured.
        device: where everything is.
        pipeline: without text encoders: prompts come as random embeddings.
        engine: irgen's, with a batch that is set for each measurement.
    """

    def __init__(self, case: Case, device: torch.device) -> None:
        self.case, self.device = case, device
        torch.manual_seed(SEED)
        transformer, vae = made(FluxTransformer2DModel, case.transformer, device), made(AutoencoderKL, case.vae, device)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        empty = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
        self.pipeline = FluxPipeline(scheduler=scheduler, transformer=transformer, vae=vae, **empty)
        for network in (transformer, vae):
            network.requires_grad_(False).eval()
        vae.to(memory_format=torch.channels_last)
        self.pipeline.set_progress_bar_config(disable=True)

    def engine(self, batch: int) -> Engine:
        return Engine(Flux(self.pipeline, self.case.base, steps=STEPS, guidance=GUIDANCE), batch, 1)

    def conditions(self, count: int) -> Conditions:
        config = self.pipeline.transformer.config
        prompt = torch.randn(count, self.case.base.max_sequence_length, config.joint_attention_dim)
        pooled = torch.randn(count, config.pooled_projection_dim)
        return Conditions({"prompt": prompt.bfloat16(), "pooled": pooled.bfloat16()}).to(self.device)

    def seconds(self, run: Callable[[], object], repeats: int = 1) -> float:
        """Return the wall time of a call, after one to warm up."""
        run()
        self.wait()
        began = time.perf_counter()
        for _ in range(repeats):
            run()
        self.wait()
        return (time.perf_counter() - began) / repeats

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def product_tflops(rig: Rig) -> float:
    """Return the rate of a square bf16 product."""
    side = rig.case.product
    a, b = (torch.randn(side, side, device=rig.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / rig.seconds(lambda: a @ b, 20) / 1e12


def forward_tflop(rig: Rig) -> float:
    """Count the arithmetic of one image's forward, on the meta device."""
    config = rig.pipeline.transformer.config
    network = made(FluxTransformer2DModel, rig.case.transformer, torch.device("meta"))
    engine = rig.engine(1)
    flow = Flow(network, GUIDANCE, engine.latent_shape)
    rows = {
        "prompt": torch.empty(1, rig.case.base.max_sequence_length, config.joint_attention_dim, device="meta"),
        "pooled": torch.empty(1, config.pooled_projection_dim, device="meta"),
    }
    rows = {name: one.bfloat16() for name, one in rows.items()}
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        flow.velocity(torch.empty(1, *engine.latent_shape, device="meta"), torch.empty(1, device="meta"), rows)
    return counted.get_total_flops() / 1e12


def forwards(rig: Rig, batch: int) -> float:
    """Return the seconds of one evaluation in irgen's step loop."""
    engine, timed = rig.engine(batch), rig.case.timed
    noise = torch.randn(batch, *engine.latent_shape)
    conditions = rig.conditions(batch)
    return rig.seconds(lambda: engine.denoise(noise, conditions, 0, timed)) / (batch * timed)


def stock(rig: Rig) -> float:
    """Return the seconds of one evaluation in FluxPipeline, one image after another."""
    rows = rig.conditions(1).rows
    base, timed = rig.case.base, rig.case.timed
    return (
        rig.seconds(
            lambda: rig.pipeline(
                prompt_embeds=rows["prompt"],
                pooled_prompt_embeds=rows["pooled"],
                height=base.height_px,
                width=base.width_px,
                num_inference_steps=timed,
                guidance_scale=GUIDANCE,
                output_type="latent",
            )
        )
        / timed
    )


def around(rig: Rig) -> dict[str, float]:
    """Return the seconds that decoding, scoring and PNG encoding take an image."""
    import open_clip

    engine = rig.engine(1)
    name, side = rig.case.clip
    clip = open_clip.create_model(name).to(rig.device).eval()
    latents = torch.randn(1, *engine.latent_shape)
    image = engine.decode(latents)[0]

    @torch.inference_mode()
    def score() -> torch.Tensor:
        pixels = torch.from_numpy(image).to(rig.device).permute(2, 0, 1)[None].float() / 255
        with torch.autocast(rig.device.type, torch.bfloat16):
            small = torch.nn.functional.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
            return clip.encode_image(small).float().cpu()

    # Noise does not compress: a smooth ramp under a little noise stands for a picture.
    ramp = torch.linspace(-1, 1, image.shape[1]).expand(1, 3, *image.shape[:2]) + 0.02 * torch.randn(
        1, 3, *image.shape[:2]
    )
    picture = to_uint8(ramp)[0]
    return {
        "decode_s": rig.seconds(lambda: engine.decode(latents), 4),
        "score_s": rig.seconds(score, 4),
        "png_s": rig.seconds(lambda: images.encode(picture, "png"), 4),
    }


def lora_step(rig: Rig, checkpointing: bool) -> dict[str, float]:
    """Return seconds and peak memory of a training step of one image."""
    transformer = rig.pipeline.transformer
    parameters = [one for name, one in transformer.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    engine = rig.engine(1)
    flow = Flow(transformer, GUIDANCE, engine.latent_shape)
    x0, noise = (torch.randn(1, *engine.latent_shape, device=rig.device) for _ in range(2))
    rows, sigma = rig.conditions(1).rows, torch.full([1], 0.5, device=rig.device)
    if checkpointing:
        transformer.enable_gradient_checkpointing()
    else:
        transformer.disable_gradient_checkpointing()
    transformer.train()
    if rig.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def step() -> None:
        with torch.autocast(rig.device.type, torch.bfloat16):
            predicted = flow.velocity((x0 + noise) / 2, sigma, rows)
        torch.nn.functional.mse_loss(predicted, noise - x0).backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = rig.seconds(step, 3)
    peak = torch.cuda.max_memory_allocated() / 2**30 if rig.device.type == "cuda" else 0.0
    transformer.eval()
    return {"seconds": seconds, "peak_gib": peak}


def measure(case: Case, device: torch.device) -> dict[str, Any]:
    rig = Rig(case, device)
    product, tflop = product_tflops(rig), forward_tflop(rig)
    report: dict[str, Any] = {"product_tflops": product, "forward_tflop": tflop, "stock_nfe_s": stock(rig)}
    report["eager_nfe_s"] = {str(batch): forwards(rig, batch) for batch in case.batches}
    report |= around(rig)
    settings = AdapterSettings(rank=16, alpha=16)
    placing.compile_denoiser(rig.pipeline.transformer)
    # One shape is compiled for: another batch would begin anew.
    report["compiled_nfe_s"] = {str(case.batches[0]): forwards(rig, case.batches[0])}
    compiled = report["compiled_nfe_s"][str(case.batches[0])]
    once = report["decode_s"] + report["score_s"]
    candidates, previews = NFE // STEPS, sum(count for count, _ in HALVING)
    report["share_of_product"] = tflop / compiled / product
    report["share_of_product_eager"] = tflop / min(report["eager_nfe_s"].values()) / product
    report["images_an_hour"] = 3600 / (NFE * compiled + candidates * once + report["png_s"])
    report["images_an_hour_halving"] = 3600 / (NFE * compiled + previews * once + report["png_s"])
    # The plain loop saves every candidate.
    plain = NFE * report["stock_nfe_s"] + candidates * (once + report["png_s"])
    report["speedup_over_stock"] = plain / 3600 * report["images_an_hour"]
    report["share_around"] = (candidates * once + report["png_s"]) / (3600 / report["images_an_hour"])
    del rig
    # Freshly made: what is compiled is not what is trained.
    rig = Rig(case, device)
    lora.add(rig.pipeline.transformer, settings)
    report["lora"] = {name: lora_step(rig, flag) for name, flag in (("checkpointed", True), ("kept", False))}
    report["lora_speedup"] = report["lora"]["checkpointed"]["seconds"] / report["lora"]["kept"]["seconds"]
    report["device"] = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return report


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--small", action="store_true", help="a small model, on whatever device there is")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.small:
        reason = "no GPU"
        print(f"skipped: {reason}")
        command.finish(options, {"skipped": reason})
        return
    report = measure(small_size() if options.small else true_size(), device)
    print(
        f"{report['device']}: {100 * report['share_of_product']:.0f} % of {report['product_tflops']:.1f} TFLOP/s "
        f"compiled, {100 * report['share_of_product_eager']:.0f} % eager; {report['images_an_hour']:.0f} images an "
        f"hour at NFE {NFE}, {report['speedup_over_stock']:.2f} times the stock pipeline"
    )
    command.finish(options, report)


if __name__ == "__main__":
    main()
