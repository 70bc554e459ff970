"""The flow of a study: every variant with every seed, then the page that compares them."""

import logging
from pathlib import Path

from prefect import flow

from flows.stages import DATA, FLOWS, OPTIONS, Data, Executor, Lanes, Ranks, taken
from irgen.pipeline import Outcome
from irgen.studies.settings import load
from tasks import study as runs

log = logging.getLogger("irgen.run")


@flow(name="study", **{**OPTIONS, "flow_run_name": "{manifest}"})
def study(
    manifest: str, data: Data = DATA, lanes: Lanes = 0, executor: Executor = "local", ranks: Ranks = 1
) -> dict[str, Outcome]:
    """Run a study: sweep, scaling in NFE, ablation of negatives, whatever its manifest varies.

    Interrupted, the same call carries on: stages that are done are reused, also from one variant to another.

    Args:
        manifest: Path of the study's manifest, from the checkout's root.
        data: Folder that holds all datasets, as the worker sees it.
        lanes: Processes that make samples side by side, a GPU or else a core each; 0: one a GPU.
        executor: Where they run; ray: on the cluster of RAY_ADDRESS, without it on this machine's own Ray.
        ranks: Processes that train adapter and verifier together, a GPU each or a share of the cores.

    Returns:
        Of each run, by its name, the outcome of its report.
    """
    from irgen.studies import running  # not at the top: it loads the numeric libraries

    asked, wanted = load(Path(manifest))
    log.info("%s: %d runs: %d variants, seeds %s", asked.study, len(wanted), len(asked.variants), list(asked.seeds))
    asked_of = {"lanes": lanes, "executor": executor, "ranks": ranks}
    processes = {name: taken(name, asked_of) for name in FLOWS}
    reports = {run.name: runs.make(run.name, run.manifest, data, processes) for run in wanted}
    page = running.write(asked, wanted, list(reports.values()), Path(data))
    log.info("study: %s", page)
    return reports
