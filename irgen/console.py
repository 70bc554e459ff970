"""What the command line says: messages on stderr, results on stdout, errors without a traceback."""

import contextlib
import errno
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from irgen.errors import IrgenError

INTERRUPTED = 130
FULL_BYTES = 1 << 20
"""A disk with less than this is full."""


@dataclass
class Context:
    """What a command tells the one who words its errors.

    Attributes:
        debug: let tracebacks through.
        folder: where the command writes, for a full disk that does not name its file.
        again: how to carry on.
    """

    debug: bool = False
    folder: Path = Path()
    again: str = "run the same command again to carry on"


class _Stderr(logging.Handler):
    """Writes to whatever stderr is now, so that lines go above a progress bar and not through it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def log_to_stderr(debug: bool) -> None:
    """Show irgen's messages."""
    logger = logging.getLogger("irgen")
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)


def say(text: str) -> None:
    """Write a message to stderr."""
    print(text, file=sys.stderr, flush=True)


def write_json(document: Any) -> None:
    """Write a result as one line of JSON to stdout."""
    print(json.dumps(document, ensure_ascii=False, default=str), flush=True)


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write a result to stdout as aligned columns, never wrapped, so that it can be searched and cut."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print("  ".join([*cells, row[-1]]).rstrip())


@contextlib.contextmanager
def clear_errors(context: Context) -> Iterator[None]:
    """Turn an exception into one message and an exit code.

    Raises:
        SystemExit: with the code, after the message.
    """
    try:
        yield
    except (typer.Exit, TyperException, BrokenPipeError):
        raise  # typer's own to handle
    except KeyboardInterrupt as error:
        code, message = INTERRUPTED, f"interrupted; {context.again}"
        cause: BaseException = error
    except IrgenError as error:
        code, message, cause = error.exit_code, str(error), error
    except Exception as error:
        code, message, cause = 1, _unexpected(error, context), error
    else:
        return
    if context.debug:
        raise cause
    say(message if code == INTERRUPTED else f"irgen: {message}")
    raise SystemExit(code) from cause


def _unexpected(error: Exception, context: Context) -> str:
    folder = context.folder
    # A full disk shows itself in many ways: ENOSPC, SQLite's own error, a server that answers 500.
    if isinstance(error, OSError) and error.filename:
        folder = Path(error.filename).parent
    folder = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
    free_bytes = shutil.disk_usage(folder).free
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or free_bytes < FULL_BYTES:
        return (
            f"{folder}: the disk is full ({free_bytes / 2**20:.0f} MiB free)\n  Free some space, then {context.again}."
        )
    return f"{type(error).__name__}: {error}\n  Not foreseen: `irgen --debug ...` shows where it comes from."
