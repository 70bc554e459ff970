"""A caption from what the annotations say: time, place, and how many of what stand where.

Everything said is as true of the thermal image as of the visible one: no colour, no light. Distances are by a box's
height relative to the frame's, with KAIST's limits (115 and 45 of 512 px).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from irgen import seeds
from irgen.captions import forms
from irgen.errors import IrgenError
from irgen.records import Box, Caption, Frame

MAX_TOKENS = 77
NEAR_FROM, FAR_BELOW = 0.225, 0.088
LEFT_UNTIL, RIGHT_FROM = 1 / 3, 2 / 3

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MANY = "many"
NOUNS = {"person": ("person", "people"), "cyclist": ("cyclist", "cyclists"), "car": ("car", "cars")}
CROWD = "people"
UNSURE = "person?"
PLACES = {"campus": "a campus", "road": "a road", "downtown": "a downtown street"}
ANYWHERE = "a scene"
TIMES = {"day": "by day", "night": "at night"}
DISTANCES = ("near", "midway", "far")
SIDES = {
    "left": ("on the left", "at the left"),
    "centre": ("in the centre", "in the middle"),
    "right": ("on the right", "at the right"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one kind that stand together.

    Attributes:
        label: person, people, cyclist or car.
        count: how many.
        distance: near, midway, far, or "" (not told).
        side: left, centre, right, or "" (not told).
        size: height of the tallest, relative to the frame's.
    """

    label: str
    count: int
    distance: str
    side: str
    size: float


def caption(
    frame: Frame,
    seed: int,
    count_tokens: Callable[[str], int],
    max_tokens: int = MAX_TOKENS,
    *,
    annotated: bool = True,
) -> Caption:
    """Describe a frame.

    Args:
        frame: time, place and boxes are read, no pixels.
        seed: the dataset's; with the frame's id it picks the wording.
        count_tokens: CLIP tokens of a text, start and end included.
        max_tokens: what the longer of the two forms may take; details of the smallest objects are left out first.
        annotated: False for a source without boxes, of which it cannot be said that nobody is there.
    """
    wording = seeds.generator(seed, frame.id, "caption").random(16)
    groups, time, place = group(frame), TIMES.get(frame.time, ""), PLACES.get(frame.place, ANYWHERE)
    nobody = annotated and _is_empty_of_people(frame.boxes)
    shortened = False
    while True:
        text = _sentence(groups, nobody, time, place, wording)
        tokens = max(count_tokens(forms.infrared(text)), count_tokens(forms.grayscale(text)))
        if tokens <= max_tokens:
            break
        shortened = True
        if groups:
            groups = _less(groups)
        elif nobody:
            nobody = False
        elif time:
            time = ""
        elif place != ANYWHERE:
            place = ANYWHERE
        else:
            raise IrgenError(f"not even {text!r} fits into {max_tokens} tokens", "allow more tokens a caption")
    return Caption(
        frame_id=frame.id,
        split=frame.split,
        caption=text,
        infrared=forms.infrared(text),
        grayscale=forms.grayscale(text),
        origin="rules",
        tokens=tokens,
        shortened=shortened,
    )


def counts(boxes: Iterable[Box]) -> dict[str, int]:
    """Return how many of each class a caption tells; uncertain persons are not told."""
    return dict(Counter(box.label for box in boxes if box.label in NOUNS or box.label == CROWD))


def group(frame: Frame) -> list[Group]:
    """Return the frame's objects by class, distance and side, the largest first."""
    groups: dict[tuple[str, str, str], Group] = {}
    for box in frame.boxes:
        if box.label not in NOUNS and box.label != CROWD:
            continue
        size = box.h_px / frame.height_px
        centre = (box.x_px + box.w_px / 2) / frame.width_px
        key = (box.label, _distance(size), _side(centre))
        known = groups.get(key)
        groups[key] = Group(
            *key[:1], (known.count if known else 0) + 1, *key[1:], max(size, known.size if known else 0.0)
        )
    return sorted(groups.values(), key=lambda g: (-g.size, g.label, g.side))


def _distance(size: float) -> str:
    if size >= NEAR_FROM:
        return "near"
    return "far" if size < FAR_BELOW else "midway"


def _side(centre: float) -> str:
    if centre < LEFT_UNTIL:
        return "left"
    return "right" if centre > RIGHT_FROM else "centre"


def _is_empty_of_people(boxes: Sequence[Box]) -> bool:
    return not any(box.label in ("person", CROWD, UNSURE, "cyclist") for box in boxes)


def _less(groups: list[Group]) -> list[Group]:
    """Leave out one detail: where the smallest group stands; then, once no place is told, the smallest group."""
    told = [k for k, g in enumerate(groups) if g.distance or g.side]
    if not told:
        return groups[:-1]
    smallest = replace(groups[told[-1]], distance="", side="")
    rest = [g for k, g in enumerate(groups) if k != told[-1]]
    for k, other in enumerate(rest):
        if other.label == smallest.label and not other.distance and not other.side:
            rest[k] = replace(other, count=other.count + smallest.count, size=max(other.size, smallest.size))
            break
    else:
        rest.append(smallest)
    return sorted(rest, key=lambda g: (not (g.distance or g.side), -g.size))


def _sentence(groups: Sequence[Group], nobody: bool, time: str, place: str, wording: np.ndarray) -> str:
    order = int(wording[0] * 3)
    if order == 1:
        groups = sorted(groups, key=lambda g: ("left", "centre", "right", "").index(g.side))
    elif order == 2:
        groups = sorted(groups, key=lambda g: (*NOUNS, CROWD).index(g.label))
    things = [_phrase(g, wording[1:3]) for g in groups]
    preposition = "in" if place == ANYWHERE else "on"
    where = f"{place} {time}".strip()
    if not things:
        if not nobody:
            return where
        options = (f"{where} with nobody", f"{where} without people", f"nobody {preposition} {where}")
        return options[int(wording[3] * len(options))]
    if nobody:
        things.append("nobody")
    listed = _listed(things)
    template = int(wording[4] * 4)
    if template == 0:
        return f"{listed} {preposition} {where}"
    if template == 1 and time:
        return f"{place} with {listed}, {time}"
    return f"{where} with {listed}"


def _phrase(item: Group, wording: np.ndarray) -> str:
    if item.label == CROWD:
        number = "a" if item.count == 1 else _number(item.count)
        words = [number, "group of people" if item.count == 1 else "groups of people"]
    else:
        number = "a" if item.count == 1 and wording[0] < 0.3 else _number(item.count)
        words = [number, NOUNS[item.label][item.count > 1]]
    if item.distance:
        words.append(item.distance)
    if item.side:
        words.append(SIDES[item.side][int(wording[1] < 0.3)])
    return " ".join(words)


def _number(count: int) -> str:
    return NUMBERS[count - 1] if count <= len(NUMBERS) else MANY


def _listed(things: Sequence[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


def _vocabulary() -> frozenset[str]:
    texts = [*NUMBERS, MANY, *DISTANCES, *PLACES.values(), ANYWHERE, *TIMES.values(), "a group of people groups"]
    texts += [noun for pair in NOUNS.values() for noun in pair] + [side for pair in SIDES.values() for side in pair]
    texts += ["with without nobody in on and"]
    return frozenset(word for text in texts for word in text.split())


VOCABULARY = _vocabulary()
"""Every word that a caption can be made of; besides them there is only the comma."""
