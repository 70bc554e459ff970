"""Verifier hacking: does the score go on rising while the images get worse? And after how many NFE does that begin?

The verifier cannot tell: it is what is being pleased. So judges are asked that share nothing with it: the distance to
real frames under each independent feature net, and realism; and recall, since a search that always takes one kind of
image finds less of what there is (arXiv 2501.09732, section 5.1, calls this verifier hacking).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Protocol

from irgen.report.looking import IRSCORE, REALISM, SCORE
from irgen.report.measure import IMAGES, Figure

ENOUGH = 2
"""Independent judges that must agree that the images got worse."""


@dataclass(frozen=True)
class Judge:
    """Somebody independent of the verifier.

    Attributes:
        judge, metric: of the figure.
        larger_is_better: which way is up.
        words: what it is called in a sentence.
    """

    judge: str
    metric: str
    larger_is_better: bool
    words: str


@dataclass(frozen=True)
class Point:
    """One budget of a search.

    Attributes:
        images: name of the set of images that a search of this budget keeps.
        candidates: noises a prompt.
        nfe: evaluations a prompt.
    """

    images: str
    candidates: int
    nfe: float


@dataclass(frozen=True)
class Fall:
    """From one budget to a larger one the score rose and these judges fell."""

    from_nfe: float
    to_nfe: float
    score: float
    judges: list[str]


@dataclass(frozen=True)
class Alarm:
    """What the judges say of a search.

    Attributes:
        goal: what the search maximises, in words.
        falls: pairs of budgets between which the verifier was hacked; empty: no alarm.
        stop_at: the largest budget up to which there is none.
        judges: who was asked.
    """

    goal: str
    falls: list[Fall]
    stop_at: Point
    judges: list[str]

    @property
    def rings(self) -> bool:
        """Whether there is an alarm."""
        return bool(self.falls)

    def document(self) -> dict[str, Any]:
        """Return it JSON-able."""
        return {
            "rings": self.rings,
            "goal": self.goal,
            "falls": [asdict(fall) for fall in self.falls],
            "stop_at_nfe": self.stop_at.nfe,
            "stop_at_candidates": self.stop_at.candidates,
            "judges": self.judges,
        }


class Budgeted(Protocol):
    """Figures of several budgets that can be compared pair by pair: of resamples, or of seeds."""

    @property
    def net(self) -> str:
        """The first feature net's name."""
        ...

    @property
    def nets(self) -> Mapping[str, bool]:
        """Whether each feature net is independent of the verifier."""
        ...

    @property
    def values(self) -> Mapping[tuple[str, str, str], Any]:
        """By judge, metric and set of images."""
        ...

    def change(self, judge: str, metric: str, after: str, before: str) -> Figure:
        """Return how much larger a figure is of one set than of another."""
        ...


def judges(measured: Budgeted, guide: Collection[str]) -> list[Judge]:
    """Return the judges that are independent of the verifier, recall (of the first net) last where there is any.

    Realism is none where it is in the guide, named by its members.
    """
    found = [
        Judge(net, "frechet", False, f"FID under {net}") for net, independent in measured.nets.items() if independent
    ]
    if REALISM not in guide and any(metric == REALISM for _, metric, _ in measured.values):
        found.append(Judge(IMAGES, REALISM, True, "realism"))
    if any(judge == measured.net and metric == "recall" for judge, metric, _ in measured.values):
        found.append(Judge(measured.net, "recall", True, "recall"))
    return found


def alarm(measured: Budgeted, points: Sequence[Point], guide: Collection[str] = (IRSCORE,)) -> Alarm:
    """Compare every two budgets.

    Args:
        measured: has figures of every point's images, resampled together; of the guide's score where it is not IRSCORE.
        points: at least one, in order of their budgets, the first the image that no search would have given.
        guide: names of the verifiers that led the search.
    """
    asked = judges(measured, guide)
    maximised = SCORE if (IMAGES, SCORE, points[0].images) in measured.values else IRSCORE
    falls = []
    for before, after in combinations(points, 2):
        risen = measured.change(IMAGES, maximised, after.images, before.images)
        fallen = [
            one for one in asked if _fell(one, measured.change(one.judge, one.metric, after.images, before.images))
        ]
        independent = [one for one in fallen if one.metric != "recall"]
        if _above(risen) and (len(independent) >= ENOUGH or len(independent) < len(fallen)):
            falls.append(Fall(before.nfe, after.nfe, risen.value, [one.words for one in fallen]))
    bad_from = min((fall.to_nfe for fall in falls), default=float("inf"))
    goal = "IRSCORE" if maximised == IRSCORE else "the guide's score"
    return Alarm(goal, falls, [one for one in points if one.nfe < bad_from][-1], [one.words for one in asked])


def _above(figure: Figure) -> bool:
    return figure.interval is not None and figure.interval[0] > 0


def _fell(judge: Judge, change: Figure) -> bool:
    if change.interval is None:
        return False
    return change.interval[1] < 0 if judge.larger_is_better else change.interval[0] > 0
