"""Printing where nobody reads."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from irgen import streams

PRINT = "print('x' * 100000); print('y' * 100000, file=sys.stderr); sys.stdout.flush(); sys.stdout.isatty()"


def unread(*lines: str, unbuffered: str = "1") -> int:
    """Run Python with its output going to a pipe that nobody reads, and return its exit code."""
    command: Sequence[str] = [sys.executable, "-c", "\n".join(["import sys", *lines])]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    process.stdout.close()
    return process.wait()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("told", [PRINT, "print('a line')", "print('a line', file=sys.stderr)"])
def test_what_nobody_reads_is_lost_and_raises_nothing(unbuffered: str, told: str) -> None:
    lines = ("from irgen import streams", f"with streams.unbreaking(): {told}", "sys.exit(3)")
    assert unread(*lines, unbuffered=unbuffered) == 3
    assert unread(PRINT, "sys.exit(3)", unbuffered=unbuffered) != 3


def test_what_somebody_reads_comes_through_and_the_streams_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with streams.unbreaking():
        print("out")
        print("err", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("out\n", "err\n")
