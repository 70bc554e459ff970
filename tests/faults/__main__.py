"""`make faults`: all of it, as tables that go into docs/reliability.md, each between its two marks.

Parts can be named: `python -m tests.faults soak damage`.
"""

import logging
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.faults import damage, fuzz, inject, power, small, soak
from tests.faults.conftest import MEMORY

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
KILLS = 70
"""For each number of workers."""
BITS, JPEGS, CASES = 1000, 100, 10_000
SHARDS = 1500


def operations(scratch: Path) -> list[str]:
    """Every operation of every scenario, with every fault."""
    lines = []
    tally = inject.Tally()
    for scenario in small.SCENARIOS:
        wanted = inject.faults(scenario, scratch / f"{scenario.name}-counted")
        inject.try_all(scenario, wanted, scratch / scenario.name, tally)
    tried = tally.tried.total()
    lines += [f"File operations x faults tried: {tried}; survived: {tried - len(tally.failed)}.", "", *tally.table()]
    return lines + tally.failed


def power_loss(scratch: Path) -> list[str]:
    """The order of fsync and rename, and what a loss of power after each operation leaves."""
    for name in ("ordered", "undisturbed", "root", "disks"):
        (scratch / name).mkdir(parents=True)
    early = list(power.unflushed(scratch / "ordered", small.build))
    small.build(scratch / "undisturbed")
    expected = small.contents(scratch / "undisturbed")
    tried = sound = 0
    for disk in power.images(scratch / "root", small.build, scratch / "disks"):
        tried += 1
        small.build(disk)
        sound += small.contents(disk) == expected
    return [
        f"Files of which a record speaks before they last: {len(early)}. Losses of power tried: {tried} (after each "
        f"operation, with everything lost that was not flushed, and with all names and no such bytes); ended with the "
        f"same bytes: {sound}.",
        *early,
    ]


def kills(scratch: Path) -> list[str]:
    """SIGKILL at random moments."""
    lines = [
        "| workers | SIGKILLs | datasets made under them | not the same bytes, or a key not once |",
        "|---" * 4 + "|",
    ]
    wrong = []
    for workers in (1, 2, 4):
        soaked = soak.soak(scratch / str(workers), workers, KILLS)
        lines.append(f"| {workers} | {soaked.kills} | {soaked.rounds} | {len(soaked.wrong)} |")
        wrong += soaked.wrong
    started = time.monotonic()
    growth_percent, handles = soak.growth(scratch / "growth", SHARDS)
    minutes = (time.monotonic() - started) / 60
    return [
        *lines,
        "",
        f"One process, {SHARDS} shards in {minutes:.1f} minutes: resident memory over the second half "
        f"{growth_percent:+.2f} %, handles left open {handles}. No child outlived a round.",
        *wrong,
    ]


def damages(scratch: Path) -> list[str]:
    """Cut and changed files, and truncated images."""
    cut, found = damage.cuts(scratch / "cuts", items=23)
    flipped, seen = damage.flips(scratch / "flips", BITS)
    jpegs, reasons = damage.truncated(scratch / "jpegs", JPEGS)
    words = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return [
        "| damage | tried | found |",
        "|---|---|---|",
        f"| a tar cut at every 512 bytes | {cut} | {found} |",
        f"| one bit of a random file of an output flipped | {flipped} | {seen} |",
        f"| JPEGs cut at a random byte, among as many whole ones | {jpegs} | {reasons.total()} ({words}) |",
    ]


def fuzzing(scratch: Path) -> list[str]:
    """Bent bytes for every parser."""
    lines = ["| parser | cases | uncaught exceptions |", "|---|---|---|"]
    for parser in fuzz.parsers(scratch / "sound"):
        try:
            tried = fuzz.attack(parser, scratch / "bent", CASES)
            lines.append(f"| {parser.name} | {tried} | 0 |")
        except Exception as error:
            lines.append(f"| {parser.name} | stopped | {type(error).__name__}: {error} |")
        print(lines[-1], flush=True)
    return lines


PARTS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "operations": ("Crashes and errors at every file operation", operations),
    "power": ("Loss of power", power_loss),
    "soak": ("SIGKILL at random moments", kills),
    "damage": ("Damage", damages),
    "fuzz": ("Untrusted input", fuzzing),
}


def main(names: list[str]) -> None:
    """Do the named parts, or all, and write them down."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    above = Path(tempfile.mkdtemp(prefix="irgen-faults-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        for name in names or PARTS:
            title, part = PARTS[name]
            started = time.monotonic()
            text = "\n".join([f"### {title}", "", *part(above / name)])
            print(f"{text}\n({time.monotonic() - started:.0f} s)\n", flush=True)
            write_down(name, text)
    finally:
        shutil.rmtree(above)


def write_down(name: str, text: str) -> None:
    """Put a part's figures between its marks in the document."""
    first, last = f"<!-- made by `make faults`: {name} -->", f"<!-- end of {name} -->"
    written = DOCUMENT.read_text()
    body = f"{first}\n{text}\n{last}"
    DOCUMENT.write_text(re.sub(f"{re.escape(first)}.*{re.escape(last)}", lambda _: body, written, flags=re.DOTALL))


if __name__ == "__main__":
    main(sys.argv[1:])
