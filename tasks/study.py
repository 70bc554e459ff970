"""The task that builds one run of a study."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from irgen.pipeline import Outcome
from irgen.settings import Manifest

log = logging.getLogger("irgen.run")


# Whether a stage is done is the store's to say: Prefect's cache serves results whose files are gone.
@task(task_run_name="{name}", cache_policy=NO_CACHE)
def make(name: str, manifest: Manifest, data: str) -> Outcome:
    """Build all stages of a run, or find them built, and return its report's outcome."""
    from irgen.studies import running  # not at the top: it loads the numeric libraries

    outcomes = running.build(manifest, Path(data))
    seconds = sum(outcome.seconds for outcome in outcomes.values())
    reused = sum(outcome.reused for outcome in outcomes.values())
    log.info("%s: %d of %d stages reused, %.0f s", name, reused, len(outcomes), seconds)
    return outcomes["report"]
