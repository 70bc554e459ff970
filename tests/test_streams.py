"""Printing where nobody reads."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from irgen import streams

PRINT = "print('x' * 100000); print('y' * 100000, file=sys.stderr); sys.stdout.flush(); sys.stdout.isatty()"


def unread(*lines: str) -> int:
    """Run Python with its output going to a pipe that nobody reads, and return its exit code."""
    command: Sequence[str] = [sys.executable, "-c", "\n".join(["import sys", *lines])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    process.stdout.close()
    return process.wait()


def test_what_nobody_reads_is_lost_and_raises_nothing() -> None:
    assert unread("from irgen import streams", f"with streams.unbreaking(): {PRINT}", "sys.exit(3)") == 3
    assert unread(PRINT, "sys.exit(3)") != 3


def test_what_somebody_reads_comes_through_and_the_streams_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with streams.unbreaking():
        print("out")
        print("err", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("out\n", "err\n")
