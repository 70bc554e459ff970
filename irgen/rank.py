"""A rank: one of the processes that train one model together.

`python -m irgen.rank PLAN` is what `irgen.ranks` starts. It tells its parent how it fares as a lane does; the stage
leaves what was learnt in its scratch folder, where its `run` finds it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from irgen import lane, pipeline, progress
from irgen.lane import Plan, Tell
from irgen.progress import Advance


class TrainedStage(Protocol):
    """What the module of a stage has that several processes may train.

    `train` takes what the stage's `run` takes, joins the others (`irgen.collective`) and leaves in the scratch folder
    of `out` what `run` would have had to learn.
    """

    def train(self, **arguments: Any) -> None: ...  # noqa: D102


def work(plan: Plan, tell: Tell) -> None:
    """Train with the others.

    Raises:
        IrgenError: as the stage.
    """
    with lane.beating(tell), progress.shown_by(functools.partial(_bar, tell)):
        cast(TrainedStage, pipeline.stage_named(plan.stage).module()).train(**plan.arguments())


@contextlib.contextmanager
def _bar(tell: Tell, description: str, total: int) -> Iterator[Advance]:
    tell({"kind": "begun", "what": description, "count": total})
    yield lambda count: tell({"kind": "done", "what": description, "count": count})
    tell({"kind": "ended", "what": description})


if __name__ == "__main__":
    sys.exit(lane.main(Path(sys.argv[1]), work))
