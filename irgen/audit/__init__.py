"""Labels judged by people: a page to accept, move and reject boxes by hand, and what the answers are worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from irgen.audit.answers import Answers
from irgen.audit.figures import measure_answers
from irgen.audit.server import AuditServer, serve
from irgen.audit.session import Session
from irgen.shards.dataset import Dataset

__all__ = ["Answers", "AuditServer", "Session", "measure_answers", "open_session", "serve", "table"]


def open_session(path: Path, count: int, seed: int) -> Session:
    """Begin the audit of a dataset, or carry on with it.

    Args:
        path: a dataset's folder, or one output of stage shards.
        count: images to look at.
        seed: of their choice.

    Raises:
        StoreError: no such dataset, a damaged one, one without labels, or damaged answers.
        SettingsError: the audit was begun with another seed.
    """
    return Session(Dataset.open(path), count, seed)


def table(answers: Path, images: int, figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures as rows for a terminal.

    Args:
        answers: where they lie.
        images: that the audit has.
        figures: of those that somebody is done with.
    """
    rows = [("answers", str(answers)), ("images", f"{figures['images']} of {images}")]
    rows += [(name, str(figures[name])) for name in ("boxes", "accepted", "fixed", "rejected", "added")]
    for name in ("precision", "recall", "recall_apart_from_ignored"):
        value, (low, high), n = (figures[name][part] for part in ("value", "interval", "n"))
        rows.append((name, f"{value:.3f}  [{low:.3f}, {high:.3f}]  N {n}" if n else "nothing to count"))
    return rows
