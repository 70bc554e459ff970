"""The command line.

It must answer `--help` at once, so everything but typer is imported where it is used. It is the outermost shell, and
the one module of irgen that may import flows, inside `run`, `ui` and `doctor` only.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from irgen import __version__, console

if TYPE_CHECKING:
    from irgen.pipeline import Outcome

KEY_FIGURES = {
    "frames": ("frames", "pairs"),
    "captions": ("captions.train", "captions.val", "captions.test"),
    "negatives": ("images.gray.train", "images.inverted.train", "images.agc.train", "images.rgb.train"),
    "verifier": ("auc.gray", "auc.match"),
    "adapter": ("loss_first", "loss_last"),
    "samples": ("images", "nfe_per_image", "unguided_score", "score"),
    "teachers": ("trained", "labels.precision", "labels.recall"),
    "labels": ("mode", "ignored", "agreement"),
    "shards": ("images", "shards", "labels.boxes", "labels.agreement"),
    "report": ("fid.floor", "fid.grayscale", "fid.unguided", "fid.guided"),
}
"""Of a stage's figures, those that the table at the end shows."""


class _Group(TyperGroup):
    """Says what went wrong in one message, whichever command it was."""

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = console.Context(debug=ctx.params["debug"])
        with console.clear_errors(ctx.obj):
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    help="Labelled synthetic infrared datasets: adapt a diffusion model, search for the best noises, judge the result.",
    epilog="Begin with: irgen run manifests/miniature.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST.yaml", help="What to build; see manifests/.")]
Data = Annotated[Path, typer.Option("--data", envvar="IRGEN_DATA", help="Folder that holds all datasets.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]


def main() -> None:
    """Run the command line."""
    # A scheduler's or container's SIGTERM ends a run as Ctrl-C does: with a message, and nothing half-written.
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _version(wanted: bool) -> None:
    if wanted:
        print(f"irgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    console.log_to_stderr(debug)


@app.command(epilog="Example: irgen run manifests/miniature.yaml --from samples")
def run(
    context: typer.Context,
    manifest: ManifestPath,
    from_stage: Annotated[str, typer.Option("--from", metavar="STAGE", help="Redo this stage and all after it.")] = "",
    only: Annotated[str, typer.Option(metavar="STAGE", help="Redo this stage and no other.")] = "",
    lanes: Annotated[
        int, typer.Option(min=0, help="Make samples in so many processes, a GPU each or a share of the cores.")
    ] = 0,
    data: Data = Path("data"),
    as_json: Json = False,
) -> None:
    """Build a dataset, from its frames to the report, or run a study; what is done already is reused.

    Killed or interrupted, the same command carries on where it stopped.
    """
    from irgen import pipeline, settings
    from irgen.studies import settings as studies

    context.obj.folder = data
    asked = studies.check(manifest, from_stage or only) if studies.is_study(manifest) else None
    if not asked:
        settings.load_manifest(manifest)
    for stage in filter(None, (from_stage, only)):
        pipeline.stage_named(stage)
    from flows import local

    outcomes = local.build(manifest, data, from_stage or None, only or None, lanes, debug=context.obj.debug)
    if as_json:
        console.write_json({name: _outcome(outcome) for name, outcome in outcomes.items()})
        return
    if asked:
        rows = [(name, *_row(outcome)[1:]) for name, outcome in outcomes.items()]
        console.write_table([("run", "seconds", "", "key figure"), *rows])
        print(f"study: {data / asked.study / 'study' / 'index.html'}")
        return
    header = ("stage", "seconds", "", "key figure")
    console.write_table([header, *(_row(outcome) for outcome in outcomes.values())])
    if "report" in outcomes:
        print(f"report: {outcomes['report'].ref.folder / 'index.html'}")


@app.command(epilog="Example: irgen plan manifests/kaist-flux.yaml --calibrate --price 3.5")
def plan(
    manifest: ManifestPath,
    data: Data = Path("data"),
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Make a little of everything first, in minutes, to know what it takes.")
    ] = False,
    price: Annotated[
        float | None, typer.Option(min=0, envvar="IRGEN_GPU_PRICE", help="Of a GPU hour, in any currency.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a run would reuse, redo or resume and why, and what it would take: time, GPU hours, disk, money.

    Costs are reckoned from what this machine took before: for this dataset, for its base, or in a calibration.
    """
    from irgen import costs, pipeline, rehearsal, settings

    wanted = settings.load_manifest(manifest)
    lines = pipeline.plan(wanted, data)
    rehearsed = rehearsal.rehearse(wanted, data, lines) if calibrate else rehearsal.kept(wanted)
    found = costs.estimate(wanted, data, lines, rehearsed)
    together = costs.total(found.values())
    if as_json:
        why = {line.stage: {"action": line.action, "reason": line.reason} for line in lines}
        stages = {name: {**why[name], **one.document(price)} for name, one in found.items()}
        console.write_json({"stages": stages, "total": together.document(price)})
        return
    rows = [(line.stage, line.action, *costs.cells(found[line.stage], price), line.reason) for line in lines]
    console.write_table(
        [("stage", "action", *costs.HEADER, "why"), *rows, ("total", "", *costs.cells(together, price), "")]
    )
    if together.seconds is None:
        console.say("?: nothing like it was made on this machine yet; `irgen plan --calibrate` finds out, in minutes")


@app.command(epilog="Example: irgen frames --source kaist --root data/raw/kaist --out data/frames --json")
def frames(
    source: Annotated[str, typer.Option(help="kaist, roadscene, hit-uav, folder, miniature, or a package's own.")],
    out: Annotated[Path, typer.Option(help="Folder to write frames.parquet and rejects.parquet into.")],
    root: Annotated[str, typer.Option(help="Folder of the raw data.")] = "",
    annotations: Annotated[
        str, typer.Option(metavar="DIR_OR_TAR", help="Annotations; default: what lies beside the images.")
    ] = "",
    annotations_only: Annotated[bool, typer.Option("--annotations-only", help="Read no images.")] = False,
    image_set: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="List of the frames to take; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read raw data alone: frames, pairs, boxes, and what is rejected for which reason."""
    from irgen import pipeline, settings

    document = {"source": source, "root": root, "annotations": annotations, "annotations_only": annotations_only}
    wanted = settings.parse(settings.FramesSettings, {**document, "image_sets": image_set or ()}, "irgen frames")
    outcome = pipeline.run_in(out, pipeline.stage_named("frames"), {"frames": wanted}, {})
    figures = {name: outcome.figures[name] for name in ("frames", "pairs", "boxes", "rejects")}
    if as_json:
        console.write_json(figures)
    else:
        console.write_table([(name, _short(count)) for name, count in _flat(figures).items()])


@app.command(epilog="Example: irgen verify data/miniature")
def verify(path: Annotated[Path, typer.Argument(help="A dataset or a stage's output.")], as_json: Json = False) -> None:
    """Compare every byte with the manifests; exit code 1 and a line for each thing that is wrong.

    Outputs that a run began and did not finish are named; they are no error.
    """
    from irgen import shards

    found, begun = shards.verify(path), shards.unfinished(path)
    if as_json:
        console.write_json({"path": str(path), "sound": not found, "problems": found, "unfinished": begun})
    else:
        print("\n".join([*begun, *(found or [f"{path}: sound"])]))
    raise typer.Exit(1 if found else 0)


@app.command(epilog="Example: irgen export data/miniature --format coco --out exports/coco --min-score 0.6")
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
        console.write_table(
            [("out", str(out)), *((name, _short(value)) for name, value in _flat(made.figures).items())]
        )


@app.command(epilog="Example: irgen audit data/miniature --n 200")
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
        found, path, images = answers.figures(), dataset, len(answers.answers)
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


@app.command(epilog="Example: irgen repair data/miniature")
def repair(path: Annotated[Path, typer.Argument(help="A dataset or a stage's output.")], as_json: Json = False) -> None:
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


@app.command(epilog="Example: irgen regenerate data/miniature 000000012")
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


@app.command(epilog="Example: irgen gc data/miniature --dry-run")
def gc(
    path: Annotated[Path, typer.Argument(help="A dataset or a stage's output.")],
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


@app.command(epilog="Example: irgen doctor manifests/kaist-flux.yaml")
def doctor(manifest: ManifestPath, data: Data = Path("data"), as_json: Json = False) -> None:
    """Say what is missing for a dataset before anything long starts: data, weights, token, GPU memory, disk.

    And what was left lying: outputs that were begun and not finished, and runs that a Prefect server (PREFECT_API_URL)
    calls Running although nothing of them lives.
    """
    from flows import stale
    from irgen import doctor as checks
    from irgen import settings

    found = [*checks.examine(settings.load_manifest(manifest), data), *stale.look(data)]
    if as_json:
        console.write_json([check.as_dict() for check in found])
    else:
        console.write_table([row for check in found for row in check.rows()])
    raise typer.Exit(1 if any(check.verdict == "missing" for check in found) else 0)


@app.command(epilog="Example: irgen compare data/miniature data/miniature-2 --out compare.html")
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


@app.command(
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


@app.command("feature-net", epilog="Example: irgen feature-net data/kaist/01-frames/7c1e52a90b34 data/nets/kaist")
def feature_net(
    frames: Annotated[Path, typer.Argument(help="Output of the frames stage; its train frames are learnt from.")],
    out: Annotated[Path, typer.Argument(help="Folder for proxy.safetensors.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Teach a feature net on real training frames, for report.feature_net = proxy:OUT; about a minute."""
    from irgen.metrics import proxy

    figures = proxy.train(frames, out, seed=seed)
    if as_json:
        console.write_json(figures)
    else:
        console.write_table([(name, _short(value)) for name, value in _flat(figures).items()])


@app.command(epilog="Example: irgen policy --rewards rewards.npz --budget 336 --steps 28")
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


@app.command(epilog="Example: irgen missrate --truth KAIST_annotation.json --detections MLPD_result.txt --json")
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


@app.command("settings", epilog="Example: irgen settings | grep samples")
def list_settings(as_json: Json = False) -> None:
    """List every field of a manifest: type, default, meaning."""
    from irgen import settings

    rows = settings.fields(settings.Manifest)
    if as_json:
        console.write_json([dict(zip(("field", "type", "default", "description"), row, strict=True)) for row in rows])
    else:
        print("\n".join(f"{field}: {kind} = {default}\n    {meaning}" for field, kind, default, meaning in rows))


@app.command(epilog="Example: irgen ui --port 4200")
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 4200,
    data: Data = Path("data"),
) -> None:
    """Serve Prefect's pages on this machine: every stage a deployment, with a worker to run them. Ctrl-C stops all."""
    from flows import local

    try:
        local.serve(data, port, lambda url: print(f"{url}  (Ctrl-C stops)", flush=True))
    except KeyboardInterrupt:
        console.say("stopped")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    from irgen import store

    figures = _flat(outcome.figures)
    shown = [f"{name} {_short(figures[name])}" for name in KEY_FIGURES[outcome.ref.stage] if name in figures]
    how = "reused" if outcome.reused else ""
    return outcome.ref.stage, f"{store.seconds(outcome.ref.folder):7.1f}", how, ", ".join(shown)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    from irgen import store

    return {
        "path": outcome.ref.path,
        "content": outcome.ref.content,
        "reused": outcome.reused,
        "seconds": store.seconds(outcome.ref.folder),
        "figures": outcome.figures,
    }


def _flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, value in figures.items():
        rows |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return rows


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
