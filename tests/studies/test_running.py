"""A study's runs, one after the other, and what sums them up."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from irgen import files, pipeline, store
from irgen.settings import FramesSettings, Manifest
from irgen.studies import running
from tests import fake_stages
from tests.studies.test_results import REPORTS, RUNS, STUDY


def test_a_run_makes_only_what_no_run_before_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in pipeline.STAGES:
        monkeypatch.setitem(sys.modules, f"irgen.stages.{stage.name}", fake_stages.module(stage))
    one = Manifest(dataset="s", frames=FramesSettings(source="miniature"))
    other = one.model_copy(update={"samples": one.samples.model_copy(update={"seed": 1})})
    fake_stages.CALLS.clear()
    first = running.build(one, tmp_path)
    assert fake_stages.CALLS == list(first) == list(pipeline.NAMES)
    fake_stages.CALLS.clear()
    second = running.build(other, tmp_path)
    assert fake_stages.CALLS == ["samples", "labels", "shards", "report"]
    assert second["adapter"].ref == first["adapter"].ref
    assert second["report"].ref.path != first["report"].ref.path


def test_the_page_leads_to_every_runs_own_report(tmp_path: Path) -> None:
    reports = []
    for number, document in enumerate(REPORTS):
        folder = tmp_path / "s" / "09-report" / str(number)
        folder.mkdir(parents=True)
        files.write_json(folder / "report.json", document)
        ref = store.Ref(stage="report", path=str(folder), content="")
        reports.append(pipeline.Outcome(ref=ref, reused=False, seconds=1.0, figures={}))
    page = running.write(STUDY, RUNS, reports, tmp_path)
    assert page == tmp_path / "s" / "study" / "index.html"
    for outcome in reports:
        link = f"../09-report/{outcome.ref.folder.name}/index.html"
        assert link in page.read_text() and (page.parent / link).parent.resolve() == outcome.ref.folder.resolve()
    assert set(json.loads((page.parent / running.FIGURES).read_text())["alarms"]) == set(STUDY.variants)
    assert set(pq.read_table(page.parent / running.TABLE)["variant"].to_pylist()) == set(STUDY.variants)
