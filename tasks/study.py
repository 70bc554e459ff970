"""The task that builds one run of a study."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from irgen.pipeline import Helpers, Outcome
from irgen.settings import Manifest, Settings
from irgen.store import Ref
from tasks import stage as stages

log = logging.getLogger("irgen.run")


# Whether a stage is done is the store's to say: Prefect's cache serves results whose files are gone.
@task(task_run_name="{name}", cache_policy=NO_CACHE)
def make(name: str, manifest: Manifest, data: str, processes: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """Build all stages of a run, or find them built, and return its report's outcome.

    Args:
        name: of the run.
        manifest: its settings.
        data: the data folder.
        processes: what each stage's flow takes of lanes, executor and ranks, by stage.
    """
    from irgen.studies import running  # not at the top: it loads the numeric libraries

    def helpers(stage: str, sections: Mapping[str, Settings], inputs: Mapping[str, Ref]) -> Helpers | None:
        asked = processes[stage]
        told = asked.get("lanes"), asked.get("executor", "local"), asked.get("ranks", 1)
        return stages.helpers(stage, manifest.dataset, sections, inputs, *told)

    outcomes = running.build(manifest, Path(data), helpers)
    seconds = sum(outcome.seconds for outcome in outcomes.values())
    reused = sum(outcome.reused for outcome in outcomes.values())
    log.info("%s: %d of %d stages reused, %.0f s", name, reused, len(outcomes), seconds)
    return outcomes["report"]
