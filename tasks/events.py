"""What others may hang their own flows on: a Prefect event for each dataset that was finished."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.events import emit_event

from irgen.pipeline import Outcome

FINISHED = "irgen.dataset.finished"


def publish_finished(dataset: str, shards: Outcome, report: Path, summary: Mapping[str, Any]) -> None:
    """Tell that a dataset is finished: a new one, or one with a new report.

    Its resource is `irgen.dataset.NAME`; the payload has `dataset`, `path` (the shards' folder), `content` (their
    digest), `report` (a page) and `figures` (the summary).
    """
    emit_event(
        FINISHED,
        resource={"prefect.resource.id": f"irgen.dataset.{dataset}", "prefect.resource.name": dataset},
        payload={
            "dataset": dataset,
            "path": str(shards.ref.folder.resolve()),
            "content": shards.ref.content,
            "report": str(report.resolve()),
            "figures": dict(summary),
        },
    )
