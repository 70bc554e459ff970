"""Make all of the miniature's weights: `python -m irgen.miniature.pretrain --stage all`.

Stages, in order: scenes, autoencoder, flux, clip, scenenet, pictures (of the documentation). Each keeps checkpoints and
a log in the work folder and goes on where it stopped; a finished stage is only exported again. Random numbers are keyed
by stage and step; the weights still depend on the CPU, because training runs in bf16 autocast.
"""

from __future__ import annotations

import logging
import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from diffusers import AutoencoderKL
from rich.logging import RichHandler

from irgen.miniature.pretraining import autoencoder, clip, corpus, flow, pictures, scenenet

log = logging.getLogger(__name__)

TRAIN_SCENES, HELD_OUT_SCENES = 32_768, 1_024


class Stage(StrEnum):
    """A step of the pretraining."""

    scenes = "scenes"
    autoencoder = "autoencoder"
    flux = "flux"
    clip = "clip"
    scenenet = "scenenet"
    pictures = "pictures"
    all = "all"


def main(
    out: Annotated[Path, typer.Option(help="Folder of the weights.")] = Path("irgen/miniature/weights"),
    stage: Annotated[Stage, typer.Option(help="What to make.")] = Stage.all,
    work: Annotated[Path, typer.Option(help="Folder of scenes, checkpoints and logs.")] = Path("data/pretrain"),
    docs: Annotated[Path, typer.Option(help="Folder of the documentation's pictures.")] = Path("docs/img"),
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = os.cpu_count() or 1,
) -> None:
    """Pretrain the miniature's models and write them as safetensors."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    torch.set_num_threads(threads)
    steps = {
        Stage.scenes: lambda: make_scenes(work, threads),
        Stage.autoencoder: lambda: make_autoencoder(work),
        Stage.flux: lambda: make_flux(work, out),
        Stage.clip: lambda: make_clip(work, out),
        Stage.scenenet: lambda: make_scenenet(work, out),
        Stage.pictures: lambda: pictures.draw(corpus.load(work / "scenes", "held-out"), out / "flux", docs),
    }
    for name, step in steps.items():
        if stage in (name, Stage.all):
            step()


def make_scenes(work: Path, processes: int) -> None:
    """Render the scenes that everything learns from."""
    corpus.render(work / "scenes", "held-out", HELD_OUT_SCENES, processes)
    corpus.render(work / "scenes", "train", TRAIN_SCENES, processes)


def make_autoencoder(work: Path) -> None:
    """Train the autoencoder; it is exported with the pipeline."""
    model = autoencoder.fit(corpus.load(work / "scenes", "train"), work)
    model.save_pretrained(work / "autoencoder")
    held_out = corpus.load(work / "scenes", "held-out")
    log.info(
        "autoencoder: %.1f dB on visible frames, %.1f dB on thermal ones",
        autoencoder.psnr_db(model, held_out.visible_u8),
        autoencoder.psnr_db(model, held_out.lwir_u8),
    )


def make_flux(work: Path, out: Path) -> None:
    """Train the flow, distil the guidance and export the pipeline."""
    vae = AutoencoderKL.from_pretrained(work / "autoencoder")
    model = flow.fit(corpus.load(work / "scenes", "train"), vae, work)
    shutil.rmtree(out / "flux", ignore_errors=True)
    flow.export(model, vae, out / "flux")


def make_clip(work: Path, out: Path) -> None:
    """Train and export the CLIP."""
    model = clip.fit(corpus.load(work / "scenes", "train"), work)
    clip.export(model, out / "clip")
    held_out = corpus.load(work / "scenes", "held-out")
    colour, gray = clip.match_auc(model, held_out), clip.match_auc(model, held_out, gray=True)
    log.info("clip: match AUC and share against one changed fact: %s in colour, %s in grayscale", colour, gray)


def make_scenenet(work: Path, out: Path) -> None:
    """Train and export the feature net."""
    model = scenenet.fit(corpus.load(work / "scenes", "train"), work)
    scenenet.export(model, out / "scenenet")
    log.info("scenenet: %s", scenenet.accuracy(model, corpus.load(work / "scenes", "held-out")))


if __name__ == "__main__":
    typer.run(main)
