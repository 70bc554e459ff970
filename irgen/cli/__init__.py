"""The command line.

It must answer `--help` at once, so everything but typer is imported where it is used. It is the outermost shell, and
the one part of irgen that may import flows, inside `run`, `ui` and `doctor` only.
"""

from __future__ import annotations

import signal
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from irgen import __version__, console
from irgen.cli import building, datasets, judging


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
    rich_markup_mode="markdown",
)
for each in (building, datasets, judging):
    app.add_typer(each.commands)


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


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
