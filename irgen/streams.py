"""Printing where perhaps nobody reads any more.

What a run prints goes through a pipe to the worker that started it. When that worker is killed the run lives on, and
the next line that a library prints, a progress bar's for instance, would end it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _Unbreaking:
    """A stream that takes what it is given, whether or not somebody reads it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or forget."""
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._forget()
        return len(text)

    def flush(self) -> None:
        """Flush, or forget."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._forget()

    def _forget(self) -> None:
        """Lead the stream nowhere: what is in its buffer would else be refused again when Python ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unbreaking() -> Iterator[None]:
    """Let what is printed in the block get lost where its reader is gone, rather than raise."""
    out, error = (cast(TextIO, _Unbreaking(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            yield
        finally:
            out.flush()
            error.flush()
