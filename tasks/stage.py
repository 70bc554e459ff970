"""The task that makes one stage's output."""

import logging
from collections.abc import Mapping
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from irgen import pipeline
from irgen.settings import Settings
from irgen.store import Ref
from tasks import artifacts

log = logging.getLogger("irgen.run")
# Prefect sends the logger to its server (PREFECT_LOGGING_EXTRA_LOGGERS) but leaves the level at the root's WARNING.
logging.getLogger("irgen").setLevel(logging.INFO)


# Whether a stage is done is the store's to say: Prefect's cache serves results whose files are gone.
@task(task_run_name="{name}", cache_policy=NO_CACHE)
def make(
    name: str,
    data: str,
    dataset: str,
    sections: Mapping[str, Settings],
    inputs: Mapping[str, Ref],
    redo: bool,
) -> pipeline.Outcome:
    """Verify the inputs, make the output or find it made, and publish what it shows."""
    stage = pipeline.stage_named(name)
    root = pipeline.dataset_root(Path(data), dataset)
    outcome = pipeline.run_stage(stage, root, sections, inputs, redo=redo)
    log.info("%s: %s in %.1f s: %s", name, "reused" if outcome.reused else "done", outcome.seconds, outcome.ref.path)
    artifacts.publish(dataset, outcome)
    return outcome
