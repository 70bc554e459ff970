"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

log = logging.getLogger(__name__)

LINE_EVERY_S = 15.0
Advance = Callable[[int], None]
Bar = Callable[[str, int], AbstractContextManager[Advance]]
"""What `bar` is, and what tells somebody else instead."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Show units a second."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


@contextmanager
def bar(description: str, total: int) -> Iterator[Advance]:
    """Show progress of `total` units; call the yielded function with how many were done."""
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
            rate = done / (now - start)
            log.info("%s: %d of %d, %.1f/s, %.0f s left", description, done, total, rate, (total - done) / rate)

    yield advance
    log.info("%s: %d done in %.1f s", description, done, time.monotonic() - start)
