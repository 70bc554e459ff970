"""Which recording goes to which split: always whole recordings, since neighbouring frames are near copies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from irgen.records import Split

BLOCKS = 10
_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def hold_out(frames_of: Mapping[str, int], fraction: float, purpose: str, strata: Mapping[str, str]) -> set[str]:
    """Choose recordings that hold about `fraction` of the frames, by a hash of their names alone.

    Every stratum (day, night) with two recordings or more gives at least one; some recording always remains. So a
    recording's place hardly moves when others are added.

    Args:
        frames_of: recording -> its number of frames.
        fraction: share of the frames, 0 for none.
        purpose: another purpose, another choice.
        strata: recording -> stratum.
    """
    if fraction <= 0:
        return set()
    chosen: set[str] = set()
    for stratum in sorted({strata[name] for name in frames_of}):
        chosen |= _near(
            {name: count for name, count in frames_of.items() if strata[name] == stratum}, fraction, purpose
        )
    return chosen or _near(frames_of, fraction, purpose)


def _near(frames_of: Mapping[str, int], fraction: float, purpose: str) -> set[str]:
    if len(frames_of) < 2:
        return set()
    order = sorted(
        frames_of, key=lambda name: hashlib.sha256(f"{purpose}\0{name}".encode(errors="surrogateescape")).digest()
    )
    target = fraction * sum(frames_of.values())
    chosen: list[str] = []
    taken = 0
    for name in order:
        is_nearer = abs(taken + frames_of[name] - target) < abs(taken - target)
        if is_nearer and len(chosen) < len(order) - 1:
            chosen.append(name)
            taken += frames_of[name]
    return set(chosen) or {min(order, key=lambda name: frames_of[name])}


def three_way(
    frames_of: Mapping[str, int], strata: Mapping[str, str], val_fraction: float, test_fraction: float
) -> dict[str, Split]:
    """Split recordings of a source without an official split: recording -> train, val or test.

    Of three recordings or more, each split that is wanted gets one.
    """
    test = hold_out(frames_of, test_fraction, "test", strata)
    if val_fraction > 0 and len(frames_of) > 2 and len(frames_of) - len(test) < 2:
        test.remove(min(test, key=lambda name: (frames_of[name], name)))
    rest = {name: count for name, count in frames_of.items() if name not in test}
    val = hold_out(rest, val_fraction, "val", strata)
    return {name: "test" if name in test else "val" if name in val else "train" for name in frames_of}


def completed(
    given: Mapping[str, Split],
    frames_of: Mapping[str, int],
    strata: Mapping[str, str],
    val_fraction: float,
    test_fraction: float,
) -> dict[str, Split]:
    """Keep the splits that a source gives its recordings; what it lacks of val and test is taken from train."""
    has = set(given.values())
    train = {name: count for name, count in frames_of.items() if given[name] == "train"}
    fractions = 0 if "val" in has else val_fraction, 0 if "test" in has else test_fraction
    return {**given, **three_way(train, strata, *fractions)}


def named(folder: str) -> Split | None:
    """Return the split that a folder's name says; None where it says none."""
    return _NAMES.get(folder.lower())


def blocks(names: Sequence[str], of: str = "") -> dict[str, str]:
    """Cut frames whose recordings are not known into ten blocks of consecutive names; return name -> `of` and block.

    So only frames at the blocks' seams have neighbours in another split.
    """
    return {name: f"{of}block{BLOCKS * number // len(names)}" for number, name in enumerate(sorted(names))}


def runs(names: Sequence[str], gap: int) -> dict[str, str]:
    """Group numbered file names into runs; return name -> run, which is named by its first member.

    A run ends where the text before the number changes or the number grows by more than `gap`.
    """
    numbered = sorted((*_number(name), name) for name in names)
    run_of: dict[str, str] = {}
    run, last_text, last = "", "", -1
    for text, number, name in numbered:
        if not run or text != last_text or number - last > gap:
            run = name
        run_of[name] = run
        last_text, last = text, number
    return run_of


def _number(name: str) -> tuple[str, int]:
    match = re.search(r"(\d+)$", name)
    return (name[: match.start()], int(match[1])) if match else (name, 0)
