"""Commands that build: run, plan, frames, doctor, settings, ui."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irgen import console
from irgen.cli.asking import Data, Json, ManifestPath, flat, short
from irgen.executors import Executor

if TYPE_CHECKING:
    from irgen.costs import Estimate
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

commands = typer.Typer()


@commands.command(epilog="Example: irgen run manifests/miniature.yaml --from samples")
def run(
    context: typer.Context,
    manifest: ManifestPath,
    from_stage: Annotated[str, typer.Option("--from", metavar="STAGE", help="Redo this stage and all after it.")] = "",
    only: Annotated[str, typer.Option(metavar="STAGE", help="Redo this stage and no other.")] = "",
    lanes: Annotated[
        int,
        typer.Option(
            min=0,
            help="Make samples in so many processes, a GPU or else a core each; 0: one a GPU where there are several, "
            "else in this process.",
        ),
    ] = 0,
    executor: Annotated[
        Executor, typer.Option(help="Where they run; ray: on the cluster of RAY_ADDRESS, else a Ray of this machine's.")
    ] = "local",
    ranks: Annotated[
        int, typer.Option(min=1, help="Train adapter and verifier in so many processes, as lanes on this machine.")
    ] = 1,
    data: Data = Path("data"),
    as_json: Json = False,
) -> None:
    """Build a dataset, from its frames to the report, or run a study; what is done already is reused.

    Killed or interrupted, the same command carries on where it stopped; of one with --from or --only, the same without.
    """
    from irgen import pipeline, settings
    from irgen.studies import settings as studies

    context.obj.folder = data
    if from_stage or only:
        context.obj.again = "run it without --from and --only to carry on: with them it begins anew"
    asked = studies.check(manifest, from_stage or only) if studies.is_study(manifest) else None
    if not asked:
        settings.load_manifest(manifest)
    for stage in filter(None, (from_stage, only)):
        pipeline.stage_named(stage)
    from flows import local

    outcomes = local.build(
        manifest, data, from_stage or None, only or None, lanes, executor, ranks, debug=context.obj.debug
    )
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


@commands.command(epilog="Example: irgen plan manifests/kaist-flux.yaml --calibrate --price 3.5")
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

    Of a study, what each of its runs makes that no run before it makes. Costs are reckoned from what this machine took
    before: for this dataset, for its base, or in a calibration.
    """
    from irgen import costs, pipeline, rehearsal, settings
    from irgen.studies import settings as studies

    if studies.is_study(manifest):
        _plan_study(manifest, data, calibrate, price, as_json)
        return
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
    _say_if_unknown(together)


@commands.command(epilog="Example: irgen frames --source kaist --root data/raw/kaist --out data/frames --json")
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
        console.write_table([(name, short(count)) for name, count in flat(figures).items()])


@commands.command(epilog="Example: irgen doctor manifests/kaist-flux.yaml")
def doctor(manifest: ManifestPath, data: Data = Path("data"), as_json: Json = False) -> None:
    """Say what is missing for a dataset before anything long starts: data, weights, token, GPU memory, disk.

    And what was left lying: outputs that were begun and not finished, and runs that a Prefect server (PREFECT_API_URL)
    calls Running although nothing of them lives.
    """
    from flows import stale
    from irgen import doctor as checks
    from irgen import settings
    from irgen.studies import settings as studies

    if studies.is_study(manifest):
        manifests = [run.manifest for run in studies.load(manifest)[1]]
    else:
        manifests = [settings.load_manifest(manifest)]
    found = [*checks.examine(manifests, data), *stale.look(data)]
    if as_json:
        console.write_json([check.as_dict() for check in found])
    else:
        console.write_table([row for check in found for row in check.rows()])
    raise typer.Exit(1 if any(check.verdict == "missing" for check in found) else 0)


@commands.command("settings", epilog="Example: irgen settings | grep samples")
def list_settings(as_json: Json = False) -> None:
    """List every field of a manifest: type, default, meaning."""
    from irgen import settings

    rows = settings.fields(settings.Manifest)
    if as_json:
        console.write_json([dict(zip(("field", "type", "default", "description"), row, strict=True)) for row in rows])
    else:
        print("\n".join(f"{field}: {kind} = {default}\n    {meaning}" for field, kind, default, meaning in rows))


@commands.command(epilog="Example: irgen ui --port 4200")
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


def _plan_study(manifest: Path, data: Path, calibrate: bool, price: float | None, as_json: bool) -> None:
    from irgen import costs
    from irgen.studies import planning, settings

    _, runs = settings.load(manifest)
    plans = planning.plan(runs, data, calibrate)
    totals = {one.run.name: costs.total(one.estimates.values()) for one in plans}
    together = costs.total(totals.values())
    if as_json:
        rows = {one.run.name: {"makes": one.made, **totals[one.run.name].document(price)} for one in plans}
        console.write_json({"runs": rows, "total": together.document(price)})
        return
    header = ("run", *costs.HEADER, "makes")
    table = [
        (name, *costs.cells(totals[name], price), ", ".join(one.made)) for name, one in zip(totals, plans, strict=True)
    ]
    console.write_table([header, *table, ("total", *costs.cells(together, price), "")])
    _say_if_unknown(together)


def _say_if_unknown(together: Estimate) -> None:
    if together.seconds is None:
        console.say("?: nothing like it was made on this machine yet; `irgen plan --calibrate` finds out, in minutes")


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    from irgen import store

    figures = flat(outcome.figures)
    shown = [f"{name} {short(figures[name])}" for name in KEY_FIGURES[outcome.ref.stage] if name in figures]
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
