"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere.

What a bar shows can be `recorded`: that is how a stage's cost is told apart into its parts.
"""

import logging
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

log = logging.getLogger(__name__)

LINE_EVERY_S = 15.0
Advance = Callable[[int], None]
Bar = Callable[[str, int], AbstractContextManager[Advance]]
"""What `bar` is, and what tells somebody else instead."""


@dataclass
class Part:
    """Work that was under bars of one description.

    Attributes:
        count: units done.
        seconds, cpu_seconds: from begin to end: on the wall, and as the function `cpu_seconds` counts.
        first, first_seconds, first_cpu_seconds: the same until `advance` was first called, which pays for warming up.
    """

    count: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    first: int = 0
    first_seconds: float = 0.0
    first_cpu_seconds: float = 0.0


_records: list[dict[str, Part]] = []
_elsewhere: list[Bar] = []


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show units a second."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


def cpu_seconds() -> float:
    """Return what this process has used of all cores, and the processes that it started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


@contextmanager
def recorded() -> Iterator[dict[str, Part]]:
    """Note the parts of what is done meanwhile, by the bars' descriptions; bars of one description add up."""
    parts: dict[str, Part] = {}
    _records.append(parts)
    try:
        yield parts
    finally:
        _records.pop()


@contextmanager
def shown_by(other: Bar) -> Iterator[None]:
    """Have another show what bars would show meanwhile."""
    _elsewhere.append(other)
    try:
        yield
    finally:
        _elsewhere.pop()


@contextmanager
def bar(description: str, total: int) -> Iterator[Advance]:
    """Show progress of `total` units; call the yielded function with how many were done."""
    shown = _elsewhere[-1] if _elsewhere else _shown
    with _noted(description) as note, shown(description, total) as show:

        def advance(count: int) -> None:
            note(count)
            show(count)

        yield advance


@contextmanager
def _noted(description: str) -> Iterator[Advance]:
    """Add what is counted, and how long it takes, to all records."""
    begun = time.monotonic(), cpu_seconds()
    noted = Part()

    def note(count: int) -> None:
        noted.count += count
        noted.seconds, noted.cpu_seconds = time.monotonic() - begun[0], cpu_seconds() - begun[1]
        if not noted.first:
            noted.first, noted.first_seconds, noted.first_cpu_seconds = count, noted.seconds, noted.cpu_seconds

    yield note
    note(0)
    for parts in _records:
        known = vars(parts.get(description, Part()))
        parts[description] = Part(**{name: known[name] + value for name, value in vars(noted).items()})


@contextmanager
def _shown(description: str, total: int) -> Iterator[Advance]:
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(description, total=total)
            yield lambda count: progress.advance(task, count)
        return
    with _lines(description, total) as advance:
        yield advance


@contextmanager
def _lines(description: str, total: int) -> Iterator[Advance]:
    start = said = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= LINE_EVERY_S and done < total:
            said = now
            # Lanes that die take back what they had counted: all of it may be left to do.
            rate = max(done, 0) / (now - start)
            left = f"{(total - done) / rate:.0f} s left" if rate else "nothing lasting yet"
            log.info("%s: %d of %d, %.1f/s, %s", description, done, total, rate, left)

    yield advance
    log.info("%s: %d done in %.1f s", description, done, time.monotonic() - start)
