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
    """Verify the inputs, make the output or find it made, and publish what it shows.

    With lanes asked for (0: one a GPU, where there are several), other processes make the shards, where `executor` puts
    them; None: the stage has none. With several ranks asked for, other processes of this machine train what it trains.
    """
    stage = pipeline.stage_named(name)
    root = pipeline.dataset_root(Path(data), dataset)
    helpers = None
    if asked_lanes is not None:
        helpers = functools.partial(_make_shards, name, dataset, sections, inputs, asked_lanes, executor)
    elif asked_ranks > 1:
        helpers = functools.partial(_train, name, sections, inputs, asked_ranks)
    with streams.unbreaking():
        outcome = pipeline.run_stage(stage, root, sections, inputs, redo=redo, helpers=helpers)
    log.info("%s: %s in %.1f s: %s", name, "reused" if outcome.reused else "done", outcome.seconds, outcome.ref.path)
    artifacts.publish(dataset, outcome)
    return outcome


def _make_shards(
    name: str,
    dataset: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    asked: int,
    executor: Executor,
    out: Path,
) -> int:
    """Have lanes make the missing shards of an output; return how many there were."""
    with executors.opened(executor) as where:
        if count := where.wanted(asked):
            lanes.run(_plan(name, sections, inputs, out), count, progress.Published(dataset, name), where)
        return count


def _train(name: str, sections: Mapping[str, Settings], inputs: Mapping[str, Ref], count: int, out: Path) -> int:
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
