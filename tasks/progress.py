"""What the Prefect UI shows of lanes at work: a bar, and a table with a line a lane, both kept up to date in place."""

import logging
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectHTTPStatusError

from irgen.lanes import Progress
from tasks.artifacts import key
from tasks.markdown import table

log = logging.getLogger(__name__)


class Published:
    """Publishes progress; a server that does not answer for a while stops no lane."""

    def __init__(self, dataset: str, stage: str) -> None:
        self._dataset = dataset
        self._stage = stage
        self._bar: UUID | None = None
        self._table: UUID | None = None

    def __call__(self, progress: Progress) -> None:
        """Show how far the work is."""
        try:
            self._publish(progress)
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            log.debug("progress is not shown: %s", error)

    def _publish(self, progress: Progress) -> None:
        percent = 100.0 * progress.images / progress.total if progress.total else 0.0
        text = described(progress)
        name, what = key(self._dataset, self._stage), f"{self._stage} of {self._dataset}"
        if self._bar is None:
            self._bar = UUID(str(create_progress_artifact(percent, key=f"{name}-progress", description=what)))
            self._table = UUID(str(create_markdown_artifact(text, key=f"{name}-lanes", description=f"Lanes: {what}")))
            return
        update_progress_artifact(self._bar, percent)
        if self._table is not None:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._table, ArtifactUpdate(data=text))


def described(progress: Progress) -> str:
    """Write progress as markdown."""
    left = "?" if progress.seconds_left is None else f"{progress.seconds_left:.0f} s"
    head = f"{progress.images} of {progress.total} images, {progress.images_per_s:.2f}/s, {left} left"
    rows = [
        (
            each.number,
            each.device,
            "at work" if each.running else "ended",
            each.images,
            each.shards,
            f"{each.images_per_s:.2f}",
            f"{each.memory_mb:.0f}",
            each.starts - 1,
        )
        for each in progress.lanes
    ]
    header = ("lane", "device", "", "images", "shards", "images/s", "memory, MB", "restarts")
    return f"{head}\n\n{table(header, rows)}"
