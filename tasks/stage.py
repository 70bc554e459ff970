"""The task that makes one stage's output."""

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from irgen import executors, lanes, pipeline, ranks, streams
from irgen.executors import Executor
from irgen.hosts import EXCHANGE
from irgen.lane import Plan
from irgen.settings import Settings
from irgen.store import Ref
from tasks import artifacts, logs, progress

log = logging.getLogger("irgen.run")
# Prefect sends the logger to its server (PREFECT_LOGGING_EXTRA_LOGGERS) but leaves the level at the root's WARNING.
logging.getLogger("irgen").setLevel(logging.INFO)
logs.tracebacks_once()


# Whether a stage is done is the store's to say: Prefect's cache serves results whose files are gone.
@task(task_run_name="{name} of {dataset}", cache_policy=NO_CACHE)
def make(
    name: str,
    data: str,
    dataset: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    redo: bool,
    asked_lanes: int | None = None,
    executor: Executor = "local",
    asked_ranks: int = 1,
) -> pipeline.Outcome:
    """Verify the inputs, make the output or find it made, and publish what it shows; processes as in `helpers`."""
    stage = pipeline.stage_named(name)
    root = pipeline.dataset_root(Path(data), dataset)
    others = helpers(name, dataset, sections, inputs, asked_lanes, executor, asked_ranks)
    with streams.unbreaking():
        outcome = pipeline.run_stage(stage, root, sections, inputs, redo=redo, helpers=others)
    log.info("%s: %s in %.1f s: %s", name, "reused" if outcome.reused else "done", outcome.seconds, outcome.ref.path)
    artifacts.publish(dataset, outcome)
    return outcome


def helpers(
    name: str,
    dataset: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    asked_lanes: int | None = None,
    executor: Executor = "local",
    asked_ranks: int = 1,
) -> pipeline.Helpers | None:
    """Return what has other processes work at a stage, and says how many; None where this one does all.

    With lanes asked for (0: one a GPU, where there are several), they make the shards, where `executor` puts them;
    None: the stage has none. With several ranks asked for, processes of this machine train what it trains.
    """
    if asked_lanes is not None:
        return functools.partial(_make_shards, name, dataset, sections, inputs, asked_lanes, executor)
    return functools.partial(_train, name, sections, inputs, asked_ranks) if asked_ranks > 1 else None


def _make_shards(
    name: str,
    dataset: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    asked: int,
    executor: Executor,
    out: Path,
    anew: bool,
) -> int:
    """Have lanes make the missing shards of an output; return how many there were."""
    with executors.opened(executor) as where:
        if count := where.wanted(asked):
            exchange = os.environ.get(EXCHANGE, "").rstrip("/") if executor == "ray" else ""
            plan = _plan(name, sections, inputs, out).model_copy(update={"exchange": exchange})
            lanes.run(plan, count, progress.Published(dataset, name), where, anew)
        return count


def _train(
    name: str, sections: Mapping[str, Settings], inputs: Mapping[str, Ref], count: int, out: Path, anew: bool
) -> int:
    """Have several processes train what a stage trains; return how many."""
    ranks.run(_plan(name, sections, inputs, out), count)
    return count


def _plan(name: str, sections: Mapping[str, Settings], inputs: Mapping[str, Ref], out: Path) -> Plan:
    """Write down for other processes what this one is to make."""
    return Plan(
        stage=name,
        sections={key: section.model_dump(mode="json") for key, section in sections.items()},
        inputs={key: ref.path for key, ref in inputs.items()},
        out=str(out),
        parent=os.getpid(),
    )
