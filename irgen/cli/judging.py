"""Commands that judge: compare, verifier-card, feature-net, policy, missrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irgen import console
from irgen.cli.asking import Json, flat, short

commands = typer.Typer()


@commands.command(epilog="Example: irgen compare data/miniature data/miniature-2 --out compare.html")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A dataset, or its report.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page, too.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two datasets by their reports: which is better beyond both intervals. Refuses unequal N."""
    from irgen.report import comparing

    found = comparing.compare(a, b)
    if out:
        comparing.write(found, out)
    if as_json:
        console.write_json(found)
    else:
        console.write_table(comparing.table(found))


@commands.command(
    "verifier-card", epilog="Example: irgen verifier-card data/kaist/05-verifier/7c1e52a9 --source roadscene --root RAW"
)
def verifier_card(
    verifier: Annotated[Path, typer.Argument(metavar="VERIFIER", help="Output of stage verifier, in its dataset.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for verifier-card.json and .html.")] = Path("card"),
    source: Annotated[str, typer.Option(help="Another source to try it on: roadscene, kaist, folder, ...")] = "",
    root: Annotated[str, typer.Option(help="Folder of that source's raw data.")] = "",
    annotations: Annotated[str, typer.Option(metavar="DIR_OR_TAR", help="Of that source, where they lie apart.")] = "",
    limit: Annotated[int, typer.Option(min=2, help="Most frames of each source.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of frames and resamplings.")] = 0,
    as_json: Json = False,
) -> None:
    """Say how well a verifier tells real infrared from what is not, on held-out videos and on another source."""
    from irgen.report import verifier_card as cards

    figures = cards.make(verifier, cards.second_source(source, root, annotations), out, limit=limit, seed=seed)
    if as_json:
        console.write_json(figures)
    else:
        console.write_table([*cards.table(figures), ("page", str(out / cards.PAGE), "", "", "")])


@commands.command("feature-net", epilog="Example: irgen feature-net data/kaist/01-frames/7c1e52a90b34 data/nets/kaist")
def feature_net(
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="Output of the frames stage; its train frames are learnt from.")
    ],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for proxy.safetensors.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Teach a feature net on real training frames, for report.feature_net = proxy:DIR; about a minute."""
    from irgen.metrics import proxy

    figures = proxy.train(frames, out, seed=seed)
    if as_json:
        console.write_json(figures)
    else:
        console.write_table([(name, short(value)) for name, value in flat(figures).items()])


@commands.command(epilog="Example: irgen policy --rewards rewards.npz --budget 336 --steps 28")
def policy(
    rewards: Annotated[Path, typer.Option(metavar="FILE.npz", help="Holds reward[prompt, seed, step].")],
    budget: Annotated[int, typer.Option(help="NFE of an image.")] = 336,
    steps: Annotated[int, typer.Option(help="Of a whole denoising.")] = 28,
    as_json: Json = False,
) -> None:
    """Choose a halving schedule on measured previews, and say what it is worth on prompts it was not chosen on."""
    from irgen import rewards as measured

    found = measured.policy(rewards, budget, steps)
    if as_json:
        console.write_json(found)
    else:
        console.write_table(measured.table(found, budget, steps))


@commands.command(epilog="Example: irgen missrate --truth KAIST_annotation.json --detections MLPD_result.txt --json")
def missrate(
    truth: Annotated[Path, typer.Option(metavar="JSON", help="KAIST's test annotations.")],
    detections: Annotated[Path, typer.Option(metavar="TXT_OR_JSON", help="image,x,y,w,h,score; or COCO results.")],
    first_image: Annotated[
        int | None, typer.Option(min=0, max=1, help="Number of the first image there; default: told by what occurs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Log-average miss rate of a detector in per cent, as KAIST's field computes it: setting Reasonable, 9 points."""
    from irgen.detections import evaluate

    figures, warnings = evaluate(truth, detections, first_image)
    for warning in warnings:
        console.say(f"warning: {warning}")
    if as_json:
        console.write_json(figures)
    else:
        rows = [(name, "nothing to find" if value is None else f"{value:.2f}") for name, value in figures.items()]
        console.write_table(rows)
