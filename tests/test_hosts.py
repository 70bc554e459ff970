"""Processes of lanes and ranks: what they say, and whether they live."""

import queue
import sys
from collections.abc import Iterator

import pytest

from irgen import hosts
from irgen.hosts import LocalProcess, Pulse
from irgen.lane import Message
from tests.clocks import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    still = Clock()
    monkeypatch.setattr(hosts, "time", still)
    return still


def pass_by(clock: Clock, pulse: Pulse, seconds: int) -> list[bool]:
    """Ask every second."""
    found = []
    for _ in range(seconds):
        clock.now += 1
        found.append(pulse.silent())
    return found


def test_who_gives_no_sign_of_life_is_silent_after_two_minutes(clock: Clock) -> None:
    pulse = Pulse()
    assert not any(pass_by(clock, pulse, 120))
    assert pulse.silent() is False and all(pass_by(clock, pulse, 5))
    pulse.beat()
    assert not any(pass_by(clock, pulse, 120))


def test_who_was_not_listened_to_has_time_to_be_heard(clock: Clock) -> None:
    pulse = Pulse()
    pass_by(clock, pulse, 20)
    clock.now += 1000  # this process was stopped
    assert not pulse.silent()
    assert not any(pass_by(clock, pulse, 9))
    assert pass_by(clock, pulse, 3)[-1]


def said(code: str) -> tuple[list[Message | None], LocalProcess]:
    """All that a process says, to its end."""
    process = LocalProcess([sys.executable, "-c", code], {})
    heard: queue.Queue[Message | None] = queue.Queue()
    hosts.listen(process, heard.put)
    messages: list[Message | None] = []
    while not messages or messages[-1] is not None:
        messages.append(heard.get(timeout=60))
    return messages, process


@pytest.mark.parametrize("line", ["what a library says", "17", '{"no": "kind"}', '{"kind": "alive", "mem', "\\xff"])
def test_a_line_that_is_no_message_is_passed_over(line: str, caplog: pytest.LogCaptureFixture) -> None:
    messages, process = said(
        f'import sys; sys.stdout.buffer.write(b\'{line}\\n\'); print(\'{{"kind": "shard", "number": 3}}\')'
    )
    assert messages == [{"kind": "shard", "number": 3}, None]
    assert process.failure() == "" and "a process says" in caplog.text


def test_the_end_is_heard_of_even_where_listening_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LocalProcess) -> Iterator[Message]:
        yield {"kind": "shard", "number": 3}
        raise OSError("Bad file descriptor")

    monkeypatch.setattr(LocalProcess, "messages", broken)
    messages, process = said("import time; time.sleep(600)")
    assert [message and message["kind"] for message in messages] == ["shard", "failed", None]
    assert process.failure() == "exit code -9"
