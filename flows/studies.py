"""The flow of a study: every variant with every seed, then the page that compares them."""

import logging
from pathlib import Path

from prefect import flow

from flows.stages import DATA, OPTIONS, Data
from irgen.pipeline import Outcome
from irgen.studies.settings import load
from tasks import study as runs

log = logging.getLogger("irgen.run")


@flow(name="study", **{**OPTIONS, "flow_run_name": "{manifest}"})
def study(manifest: str, data: Data = DATA) -> dict[str, Outcome]:
    """Run a study: sweep, scaling in NFE, ablation of negatives, whatever its manifest varies.

    Interrupted, the same call carries on: stages that are done are reused, also from one variant to another.

    Args:
        manifest: Path of the study's manifest, from the checkout's root.
        data: Folder that holds all datasets, as the worker sees it.

    Returns:
        Of each run, by its name, the outcome of its report.
    """
    from irgen.studies import running  # not at the top: it loads the numeric libraries

    asked, wanted = load(Path(manifest))
    log.info("%s: %d runs: %d variants, seeds %s", asked.study, len(wanted), len(asked.variants), list(asked.seeds))
    reports = {run.name: runs.make(run.name, run.manifest, data) for run in wanted}
    page = running.write(asked, wanted, list(reports.values()), Path(data))
    log.info("study: %s", page)
    return reports
