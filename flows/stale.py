"""Runs that a Prefect server calls Running although nothing of them lives any more."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows import automation, local
from irgen import pipeline, running, settings
from irgen.doctor import Check
from irgen.errors import IrgenError
from irgen.studies import settings as studies

WHAT = "flow runs"
PORT = 4200
SILENT_S = 120
"""As long as automations.yaml waits for a sign of life."""
MOST = 200


def look(data: Path) -> Iterator[Check]:
    """Compare what the server calls Running with the signs of life that came; one line where all is well.

    Args:
        data: the data folder of runs that name none.
    """
    url = os.environ.get("PREFECT_API_URL") or local.api_url(PORT)
    if not local.answers(url):
        yield Check("ok", WHAT, f"not looked at: no Prefect server answers at {url}")
        return
    try:
        found = automation.call("POST", f"{url}/flow_runs/filter", {"flow_runs": RUNNING, "limit": MOST})
        stale = [run for run in found if _is_stale(url, run, data)]
    except OSError as error:
        yield Check("warning", WHAT, f"{url} did not tell: {error}")
        return
    for run in stale:
        yield Check(
            "warning",
            "stale run",
            f"{run['name']} ({run['id']}) is Running since {run['start_time'][:19]} UTC, without a sign of life for "
            f"{SILENT_S} s, and nobody is at work on its dataset: its process is gone",
            f"Run the same again: it carries on. `prefect flow-run delete {run['id']}` takes this one off the page.",
        )
    if not stale:
        yield Check("ok", WHAT, f"{len(found)} running at {url}, none stale")


RUNNING = {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}


def _is_stale(url: str, run: Mapping[str, Any], data: Path) -> bool:
    """Say whether a run was silent for long, and nobody holds its dataset.

    The runs of `irgen run`, whose server ends with them, give no sign of life; but they hold their dataset.
    """
    since = datetime.now(UTC) - timedelta(seconds=SILENT_S)
    if run["start_time"] is None or datetime.fromisoformat(run["start_time"]) > since:
        return False
    wanted = {
        "occurred": {"since": since.isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
    }
    heard = automation.call("POST", f"{url}/events/filter", {"filter": wanted, "limit": 1})["events"]
    return not heard and not any(running.at_work(root) for root in _datasets(run["parameters"], data))


def _datasets(parameters: Mapping[str, Any], data: Path) -> list[Path]:
    """Return the dataset's folder that a run works on, as far as its parameters tell."""
    root = Path(parameters.get("data") or data)
    if name := parameters.get("dataset"):
        return [pipeline.dataset_root(root, str(name))]
    try:
        path = Path(parameters["manifest"])
        found = studies.load(path)[0].study if studies.is_study(path) else settings.load_manifest(path).dataset
        return [pipeline.dataset_root(root, found)]
    except (KeyError, OSError, IrgenError):
        return []
