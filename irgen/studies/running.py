"""Building one run of a study: all stages, what other runs have made already reused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from irgen import files, pipeline
from irgen.pipeline import Helpers, Outcome
from irgen.settings import Manifest, Settings, verifiers_of
from irgen.store import Ref
from irgen.studies import page, results
from irgen.studies.settings import Run, Study

PAGE, FIGURES, TABLE = "index.html", "study.json", "study.parquet"


def build(
    manifest: Manifest,
    data: Path,
    helpers: Callable[[str, Mapping[str, Settings], Mapping[str, Ref]], Helpers | None] = lambda *_: None,
) -> dict[str, Outcome]:
    """Build all stages of a dataset, in order; what is done is reused.

    Args:
        manifest: of the dataset.
        data: the data folder.
        helpers: called with a stage, its settings and its inputs; returns what has other processes work at it.

    Raises:
        IrgenError: whatever a stage raises.
    """
    root = pipeline.dataset_root(data, manifest.dataset)
    outcomes: dict[str, Outcome] = {}
    for stage in pipeline.STAGES:
        sections = {name: getattr(manifest, name) for name in stage.sections}
        refs = {name: outcomes[name].ref for name in stage.reads(sections)}
        others = helpers(stage.name, sections, refs)
        outcomes[stage.name] = pipeline.run_stage(stage, root, sections, refs, helpers=others)
    return outcomes


def write(study: Study, runs: Sequence[Run], reports: Sequence[Outcome], data: Path) -> Path:
    """Sum up a study whose runs are all there; return the page.

    Args:
        study: what was asked.
        runs: its runs.
        reports: of each, the outcome of its report.
        data: the data folder.

    Returns:
        The page; `study.json` and `study.parquet` lie beside it.
    """
    out = pipeline.dataset_root(data, study.study) / "study"
    out.mkdir(parents=True, exist_ok=True)
    rows = results.rows(runs, [_figures(report) for report in reports])
    guides = {run.variant: verifiers_of(run.manifest.samples.guide) for run in runs}
    summed = results.summarise(study, rows, guides=guides)
    files.write_json(out / FIGURES, summed)
    with files.placed(out / TABLE) as temporary:
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), temporary, compression="zstd")
    files.write_bytes(out / PAGE, page.render(study, summed, _places(runs, reports, out)).encode())
    return out / PAGE


def _figures(report: Outcome) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads((report.ref.folder / "report.json").read_text())
    return found


def _places(runs: Sequence[Run], reports: Sequence[Outcome], out: Path) -> list[tuple[str, str]]:
    """Return each run and where its own report lies, from the study's folder."""
    return [
        (run.name, str(Path("..") / report.ref.folder.relative_to(out.parent) / PAGE))
        for run, report in zip(runs, reports, strict=True)
    ]
