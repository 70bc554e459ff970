"""What bars say to who records them."""

import subprocess
import sys

import pytest

from irgen import progress
from tests.clocks import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    still = Clock()
    monkeypatch.setattr(progress, "time", still)
    monkeypatch.setattr(progress, "cpu_seconds", lambda: 2 * still.now)
    return still


def test_a_record_tells_the_parts_by_their_bars(clock: Clock) -> None:
    with progress.recorded() as parts:
        for description, units, unit_seconds in (("encode", 2, 1.0), ("train", 3, 0.5), ("train", 4, 0.25)):
            with progress.bar(description, units) as advance:
                clock.now += 8
                for _ in range(units):
                    clock.now += unit_seconds
                    advance(1)
                clock.now += 4
    assert vars(parts["encode"]) == {
        **{"count": 2, "seconds": 14.0, "cpu_seconds": 28.0},
        **{"first": 1, "first_seconds": 9.0, "first_cpu_seconds": 18.0},
    }
    train = parts["train"]
    assert (train.count, train.seconds, train.first, train.first_seconds) == (7, 26.5, 2, 16.75)


def test_units_that_an_interrupted_run_had_done_are_the_first() -> None:
    with progress.recorded() as parts, progress.bar("train", 9) as advance:
        advance(5)
        for _ in range(4):
            advance(1)
    assert (parts["train"].count, parts["train"].first) == (9, 5)


def test_none_done_before_is_no_first_unit() -> None:
    with progress.recorded() as parts, progress.bar("train", 2) as advance:
        advance(0)
        advance(2)
    assert parts["train"].first == 2


def work(description: str) -> None:
    with progress.bar(description, 1) as advance:
        advance(1)


def test_only_what_happens_meanwhile_is_recorded() -> None:
    with progress.recorded() as outer:
        with progress.recorded() as inner:
            work("a")
        work("b")
    work("c")
    assert (set(outer), set(inner)) == ({"a", "b"}, {"a"})


def test_a_failure_ends_the_record() -> None:
    with pytest.raises(RuntimeError), progress.recorded() as parts, progress.bar("a", 2) as advance:
        advance(1)
        raise RuntimeError
    work("b")
    assert "b" not in parts


def test_work_of_which_nothing_lasted_has_no_rate(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "irgen.progress"), progress.bar("samples", 24) as advance:
        for count in (0, 7, -7, -1, 5):
            clock.now += 20
            advance(count)
    assert "samples: 0 of 24, 0.0/s, nothing lasting yet" in caplog.text
    assert "samples: 4 of 24, 0.0/s, 500 s left" in caplog.text


def test_a_process_that_was_started_and_has_ended_counts() -> None:
    with progress.recorded() as parts, progress.bar("train", 1) as advance:
        subprocess.run(
            [sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"],
            check=True,
        )
        advance(1)
    assert parts["train"].cpu_seconds >= 0.5
