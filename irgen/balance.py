"""A mix of captions that was asked for: so many by night, so many with cyclists, whatever the source has more of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from irgen import seeds
from irgen.captions import rules
from irgen.captions.agreement import read
from irgen.errors import SettingsError

MANY = 3
"""People in a caption from which on it is of many."""
IN_BOXES = ("nobody", "person", "cyclist", "car", "many", *rules.DISTANCES)
"""Features that labels show, too; the others only a caption tells."""
NAMES = (*rules.TIMES, *rules.PLACES, *IN_BOXES)
"""Whatever a mix may name."""


def features(caption: str) -> frozenset[str]:
    """Return what a caption has of `NAMES`."""
    groups, nobody = read(caption)
    found = {name for words in (rules.TIMES, rules.PLACES) for name, word in words.items() if word in caption}
    found |= {group.label if group.label in IN_BOXES else "person" for group in groups}
    found |= {group.distance for group in groups if group.distance and group.label != "car"}
    people = sum(group.count for group in groups if group.label != "car")
    found |= ({"many"} if people >= MANY else set()) | ({"nobody"} if nobody else set())
    return frozenset(found & set(NAMES))


def shares(captions: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return the share of captions that have each of some features."""
    found = [features(caption) for caption in captions]
    return {name: sum(name in own for own in found) / max(1, len(found)) for name in names}


def choose(captions: Sequence[str], count: int, mix: Mapping[str, float], seed: int) -> list[int]:
    """Choose captions, one after the other, so that the shares of features come close to a mix at any length.

    Of the captions that bring the shares closest, the one that was chosen least so far is taken, then the first in a
    seeded order.

    Args:
        captions: to choose from.
        count: how many; a caption may come several times.
        mix: feature -> share wanted.
        seed: of the order.

    Returns:
        Indices of captions, [count].

    Raises:
        SettingsError: a feature that no caption has, or that all have and not all shall.
    """
    names = list(mix)
    known = [features(caption) for caption in captions]
    has = np.array([[name in own for name in names] for own in known], bool).reshape(len(captions), len(names))
    for column, name in enumerate(names):
        have = int(has[:, column].sum())
        if (have == 0 and mix[name] > 0) or (have == len(captions) and mix[name] < 1):
            raise SettingsError(
                f"samples.mix.{name} = {mix[name]:g} cannot be had: {have} of {len(captions)} captions have it",
                "Change the mix, or caption more frames (captions.train_frames).",
            )
    wanted = np.array([mix[name] for name in names])
    # Captions of equal features are one kind: what is chosen among is kinds, not captions.
    kinds, kind_of = np.unique(has, axis=0, return_inverse=True)
    order = seeds.generator(seed, "all", "mix").permutation(len(captions))
    queues = [[int(one) for one in order if kind_of[one] == kind] for kind in range(len(kinds))]
    taken = np.zeros(len(names))
    used = np.zeros(len(kinds), np.int64)
    chosen = []
    for place in range(1, count + 1):
        distance = np.square((taken + kinds) / place - wanted).sum(axis=1)
        rounds = used // [len(queue) for queue in queues]
        kind = int(np.lexsort((rounds, distance.round(12)))[0])
        chosen.append(queues[kind][used[kind] % len(queues[kind])])
        used[kind] += 1
        taken += kinds[kind]
    return chosen
