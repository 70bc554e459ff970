"""Commands on a finished dataset: verify, push, pull, export, audit, repair, regenerate, gc."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irgen import console
from irgen.cli.asking import Json, flat, short

if TYPE_CHECKING:
    from irgen.shards.publishing import Copied

commands = typer.Typer()


@commands.command(epilog="Example: irgen verify data/miniature")
def verify(
    path: Annotated[
        str, typer.Argument(metavar="PATH_OR_URL", help="A dataset, a stage's output, or where one was pushed to.")
    ],
    as_json: Json = False,
) -> None:
    """Compare every byte with the manifests; exit code 1 and a line for each thing that is wrong.

    Outputs that a run began and did not finish are named; they are no error.
    """
    from irgen import places, shards
    from irgen.shards import publishing

    begun: list[str] = []
    if places.is_url(path):
        found = publishing.verify(path)
    else:
        found, begun = shards.verify(Path(path)), shards.unfinished(Path(path))
    if as_json:
        console.write_json({"path": path, "sound": not found, "problems": found, "unfinished": begun})
    else:
        print("\n".join([*begun, *(found or [f"{path}: sound"])]))
    raise typer.Exit(1 if found else 0)


@commands.command(epilog="Example: irgen push data/miniature s3://bucket/miniature/1")
def push(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset, or its shards.")],
    url: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where it shall lie, and nothing else.")],
    as_json: Json = False,
) -> None:
    """Put a finished dataset on S3-compatible storage, or what of it is not there yet.

    Endpoint and credentials are AWS_ENDPOINT_URL, AWS_PROFILE or AWS_ACCESS_KEY_ID and so on, as boto3 finds them.
    """
    from irgen.shards import publishing

    _write_copied(publishing.push(dataset, url), as_json)


@commands.command(epilog="Example: irgen pull s3://bucket/miniature/1 data/pulled")
def pull(
    url: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="Where a dataset was pushed to.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make, or of an interrupted pull.")],
    as_json: Json = False,
) -> None:
    """Fetch a dataset from S3-compatible storage, or what of it is not there yet, and check every byte."""
    from irgen.shards import publishing

    _write_copied(publishing.pull(url, folder), as_json)


@commands.command(epilog="Example: irgen export data/miniature --format coco --out exports/coco --min-score 0.6")
def export(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset, or its shards.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make; what is there and not empty is refused.")],
    form: Annotated[str, typer.Option("--format", metavar="coco|yolo|hf|voc", help="What reads it.")] = "coco",
    min_score: Annotated[float, typer.Option(help="Boxes under it become boxes to ignore.")] = 0.0,
    min_agreement: Annotated[float, typer.Option(help="Images whose boxes fit their caption less are left out.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Write a dataset with its boxes as COCO, YOLO, Pascal VOC or Hugging Face, and a card that says what it is."""
    from irgen import exports

    made = exports.export(dataset, form, out, min_score=min_score, min_agreement=min_agreement)
    for warning in made.warnings:
        console.say(f"warning: {warning}")
    if as_json:
        console.write_json({"format": form, "out": str(out), **made.figures, "warnings": made.warnings})
    else:
        console.write_table([("out", str(out)), *((name, short(value)) for name, value in flat(made.figures).items())])


@commands.command(epilog="Example: irgen audit data/miniature --n 200")
def audit(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A dataset, its shards, or an answers.json to tell figures from.")
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Images to look at; more later go on with these.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0: any that is free.")] = 0,
    figures: Annotated[bool, typer.Option("--figures", help="Serve nothing: only say what the answers give.")] = False,
    as_json: Json = False,
) -> None:
    """Look at labels by hand: a local page to accept, move and reject boxes, saved as you go. Ctrl-C ends it.

    The same command carries on later. The answers give precision and recall, which `irgen export` tells in its card.
    """
    from irgen import audit as auditing

    if dataset.is_file():
        answers = auditing.Answers.read(dataset)
        found, path, images = auditing.measure_answers(answers), dataset, len(answers.answers)
    else:
        session = auditing.open_session(dataset, n, seed)
        if not figures:
            with contextlib.suppress(KeyboardInterrupt):
                auditing.serve(session, port, lambda url: console.say(f"{url}  (Ctrl-C ends)"))
        found, path, images = session.figures(), session.path, len(session.subjects)
    if as_json:
        console.write_json({"answers": str(path), **found})
    else:
        console.write_table(auditing.table(path, images, found))


@commands.command(epilog="Example: irgen repair data/miniature")
def repair(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset or a stage's output.")], as_json: Json = False
) -> None:
    """Make again exactly what `verify` finds damaged, or say why that cannot be; exit code 1 if any damage is left."""
    from dataclasses import asdict

    from irgen import repair as mending

    done = mending.repair(path)
    if as_json:
        console.write_json({"path": str(path), "repairs": [asdict(each) for each in done]})
    else:
        lines = [f"{each.path}: {'mended' if each.mended else 'NOT MENDED: ' + each.why_not}" for each in done]
        print("\n".join(lines) or f"{path}: sound, nothing to do")
    raise typer.Exit(0 if all(each.mended for each in done) else 1)


@commands.command(epilog="Example: irgen regenerate data/miniature 000000012")
def regenerate(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A dataset, or its samples or shards.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of an image: the name of its members.")],
    as_json: Json = False,
) -> None:
    """Make one kept image again from its score sheet alone; exit code 1 where a byte differs."""
    from irgen import regenerate as remaking

    made = remaking.regenerate(dataset, key)
    if as_json:
        console.write_json({"key": made.key, "same": made.same, "recorded": made.recorded, "made": made.made})
    else:
        print(made.message)
    raise typer.Exit(0 if made.same else 1)


@commands.command(epilog="Example: irgen gc data/miniature --dry-run")
def gc(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset or a stage's output.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what crashes left behind and nothing refers to."""
    from irgen import shards

    gone = [str(each) for each in shards.gc(path, dry_run=dry_run)]
    if as_json:
        console.write_json({"path": str(path), "dry_run": dry_run, "removed": gone})
        return
    print("\n".join([*gone, f"{len(gone)} {'to remove' if dry_run else 'removed'}"]))


def _write_copied(copied: Copied, as_json: bool) -> None:
    if as_json:
        console.write_json(vars(copied))
    else:
        print(f"{copied.target}: {copied.files:,} files, {copied.bytes:,} bytes, {copied.moved:,} files moved now")
