"""Whether the boxes in an image are as many, and where, as its caption says.

Captions are read by the wording of `irgen.captions.rules`; phrases of other words are passed over. Nothing is held
against an image of which the caption is silent: cars count only where the caption tells cars, people only where it
tells people, cyclists, or that there is nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from irgen.captions import rules
from irgen.captions.rules import Group
from irgen.records import Box, Frame

PERSON, CYCLIST = "person", "cyclist"
CROWD_LEAST = 2
"""Persons in a group of people, at least; there may be any number more."""
MANY_LEAST = len(rules.NUMBERS) + 1


def agreement(
    caption: str, found: Sequence[Box], width_px: int, height_px: int, known: Collection[str]
) -> tuple[float, float]:
    """Compare what was found with a caption.

    Args:
        caption: of the image.
        found: what was.
        width_px: of the image.
        height_px: of the image.
        known: classes that can be found; what is told of others cannot be checked.

    Returns:
        Count: right objects over those told or found too many (min over max, summed over classes). Place: share of the
        objects whose distance or side is told that were found there. Both are 1 where nothing is told.
    """
    told, nobody = read(caption)
    told = [group for group in told if counted_as(group.label) in known]
    seen = rules.group(_frame(found, width_px, height_px))
    ranges = {label: ends for label, ends in _ranges(told, nobody).items() if label in known}
    right = total = 0.0
    for label, (least, most) in ranges.items():
        number = _number(label, seen)
        right += min(least, number)
        total += least + max(0.0, number - most)
    placed = [group for group in told if group.distance or group.side]
    hits = sum(min(_least(group), _number(counted_as(group.label), _at(group, seen))) for group in placed)
    wanted = sum(_least(group) for group in placed)
    count = right / total if total else 1.0
    return count, hits / wanted if wanted else count if ranges else 1.0


def read(caption: str) -> tuple[list[Group], bool]:
    """Return the groups that a caption tells (13 stands for "many"; size is not told), and whether it says nobody."""
    groups = []
    for number, noun, distance, side in _PHRASE.findall(caption):
        label, count = _LABELS[noun], _COUNTS[number]
        groups.append(Group(label, count, distance, _SIDES.get(side, ""), 0.0))
    return groups, bool(_NOBODY.search(caption))


def _ranges(told: Sequence[Group], nobody: bool) -> dict[str, tuple[float, float]]:
    """Return for each class to be counted the least and the most that fits."""
    labels = {counted_as(group.label) for group in told}
    if nobody or labels & {PERSON, CYCLIST}:
        labels |= {PERSON, CYCLIST}
    ranges = {}
    for label in sorted(labels):
        own = [group for group in told if counted_as(group.label) == label]
        open_ended = any(group.label == rules.CROWD or group.count == MANY_LEAST for group in own)
        least = float(sum(_least(group) for group in own))
        ranges[label] = (least, math.inf if open_ended else least)
    return ranges


def _number(label: str, seen: Sequence[Group]) -> int:
    return sum(_least(group) for group in seen if counted_as(group.label) == label)


def _least(group: Group) -> int:
    """Return how many objects a group stands for, at least."""
    return group.count * (CROWD_LEAST if group.label == rules.CROWD else 1)


def counted_as(label: str) -> str:
    """Return the class under which a group is counted."""
    return PERSON if label == rules.CROWD else label


def _at(told: Group, seen: Sequence[Group]) -> list[Group]:
    """Return the groups that stand where the caption says, as far as it says."""
    return [group for group in seen if told.distance in ("", group.distance) and told.side in ("", group.side)]


def _frame(boxes: Sequence[Box], width_px: int, height_px: int) -> Frame:
    """Dress boxes as a frame, so that distance and side are what they are in captions."""
    return Frame("", "", "train", "", "", "", "", "", "", "", "", width_px, height_px, tuple(boxes))


_COUNTS = {word: number for number, word in enumerate(rules.NUMBERS, start=1)} | {rules.MANY: MANY_LEAST, "a": 1}
_LABELS = {noun: label for label, nouns in rules.NOUNS.items() for noun in nouns} | {
    "group of people": rules.CROWD,
    "groups of people": rules.CROWD,
}
_SIDES = {phrase: side for side, phrases in rules.SIDES.items() for phrase in phrases}


def _any_of(words: Sequence[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_PHRASE = re.compile(
    rf"\b({_any_of(list(_COUNTS))}) ({_any_of(list(_LABELS))})\b"
    rf"(?: ({_any_of(rules.DISTANCES)})\b)?(?: ({_any_of(list(_SIDES))})\b)?"
)
_NOBODY = re.compile(r"\bnobody\b|\bwithout people\b")
