"""Making one file operation of a run crash or fail, and looking at what is left."""

import errno
import os
import shutil
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from irgen import files, shards
from irgen.errors import IrgenError
from irgen.files import Moment, Operation
from irgen.shards.verify import outputs
from tests.faults import small
from tests.faults.small import Scenario

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
FAULTS = ("crash before", "crash after", *ERRORS)
GROWING = ("mkdir", "create", "write", "link", "rename", "fsync")
"""Kinds that a full disk can refuse; from the first on it refuses all, as a full disk does."""
DONE, REFUSED, CRASHED, OTHER = 0, 3, -signal.SIGKILL, 9
LIMIT_S = 60


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at one operation, counted from 0."""

    number: int
    kind: str
    what: str


@dataclass
class Tally:
    """What was tried, by kind of operation and fault, and what did not end well."""

    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def table(self) -> list[str]:
        """Lines of Markdown: a row a kind of operation."""
        kinds = sorted({kind for kind, _ in self.tried})
        rows = [[kind, *(str(self.tried[kind, what]) for what in FAULTS)] for kind in kinds]
        rows.append(["all", *(str(sum(self.tried[kind, what] for kind in kinds)) for what in FAULTS)])
        header = ["operation", *FAULTS]
        return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def faults(scenario: Scenario, root: Path, every: int = 1) -> list[Fault]:
    """Run a scenario undisturbed; return all faults of all its operations, or of every so many."""
    scenario.prepare(root)
    seen: list[Operation] = []
    succeeded: set[int] = set()

    def watch(moment: Moment, operation: Operation) -> None:
        if moment == "before":
            seen.append(operation)
        else:
            succeeded.add(len(seen) - 1)

    with files.watched(watch):
        scenario.act(root)
    return [
        Fault(number, operation.kind, what)
        for number, operation in enumerate(seen)
        for place, what in enumerate(FAULTS)
        # There is no moment after an operation that fails by itself, as looking for what is not there.
        if (number + place) % every == 0 and (what != "crash after" or number in succeeded)
    ]


def try_all(scenario: Scenario, wanted: Iterable[Fault], scratch: Path, tally: Tally) -> None:
    """Try each fault on a copy of its own; see that what is left is sound, and that the end is the same."""
    scratch.mkdir(parents=True)
    # Names of outputs do not depend on where they lie, so that one preparation serves all.
    scenario.prepare(scratch / "prepared")
    shutil.copytree(scratch / "prepared", scratch / "undisturbed")
    scenario.act(scratch / "undisturbed")
    expected = small.contents(scratch / "undisturbed")
    before = small.contents(scratch / "prepared")
    for fault in wanted:
        root = scratch / "disturbed"
        shutil.copytree(scratch / "prepared", root)
        where = f"{scenario.name}: {fault.what} at operation {fault.number} ({fault.kind})"
        tally.tried[fault.kind, fault.what] += 1
        ended = in_child(lambda root=root, fault=fault: disturbed(scenario, root, fault))
        tally.failed += [f"{where}: {line}" for line in _wrong(scenario, root, fault, ended, before, expected)]
        shutil.rmtree(root)


def _wrong(scenario: Scenario, root: Path, fault: Fault, ended: int, before: dict, expected: dict) -> Iterator[str]:
    allowed = (CRASHED,) if fault.what.startswith("crash") else (DONE, REFUSED)
    if ended not in allowed:
        yield f"ended with {ended}"
    left = small.contents(root)
    if scenario.keeps and {name: left.get(name) for name in before} != before:
        yield "touched what was there"
    if scenario.name == "build":
        yield from shards.verify(root) if outputs(root) else []
    scenario.act(root)
    if (end := small.contents(root)) != expected:
        names = sorted(name for name in {*end, *expected} if end.get(name) != expected.get(name))
        yield f"ends otherwise: {', '.join(names)}"
    yield from shards.verify(root)


def disturbed(scenario: Scenario, root: Path, fault: Fault) -> int:
    """Run a scenario in which one operation goes wrong."""
    count = -1
    is_full = False

    def watch(moment: Moment, operation: Operation) -> None:
        nonlocal count, is_full
        if moment == "before":
            count += 1
        if count == fault.number and fault.what == f"crash {moment}":
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "before" and fault.what in ERRORS:
            is_full = is_full or (count == fault.number and fault.what == "ENOSPC")
            if count == fault.number or (is_full and operation.kind in GROWING):
                raise OSError(ERRORS[fault.what], os.strerror(ERRORS[fault.what]), str(operation.path))

    with files.watched(watch):
        try:
            scenario.act(root)
        except (OSError, IrgenError):
            return REFUSED
    return DONE


def in_child(act: Callable[[], int]) -> int:
    """Call a function in a child of this process; return what it returns, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(start_child(act), 0)[1])


def start_child(act: Callable[[], int]) -> int:
    """Begin a function in a child of this process, which ends with what it returns; return the child's id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking while other tests' threads sleep
        child = os.fork()
    if child == 0:
        code = OTHER
        try:
            signal.alarm(LIMIT_S)
            code = act()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child
