from pathlib import Path

import pytest

from irgen import machine, rehearsal
from irgen.costs import Measured
from irgen.generators import memory
from irgen.pipeline import NAMES
from irgen.studies import planning
from irgen.studies.settings import load
from tests.cli.terminal import irgen
from tests.studies.test_settings import write

AFTER = ["samples", "labels", "shards", "report"]


def test_what_runs_share_is_made_by_the_first_of_them(tmp_path: Path) -> None:
    variants = {"a": {}, "b": {"samples.steps": 9}, "c": {"verifier.steps": 9}}
    _, runs = load(write(tmp_path, variants=variants))
    plans = planning.plan(runs, tmp_path / "data")
    assert [one.made for one in plans[:3]] == [list(NAMES), AFTER, AFTER]
    assert [one.made for one in plans[3:6]] == [AFTER] * 3
    assert [one.made for one in plans[6:]] == [["verifier", *AFTER], AFTER, AFTER]
    [line] = [line for line in plans[3].lines if line.stage == "adapter"]
    assert line.reason == "made by a, seed 0"


def test_a_variant_is_rehearsed_once_and_its_shared_stages_cost_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsed = []

    def rehearse(wanted, data, lines):
        rehearsed.append(wanted.samples.steps)
        took = {"seconds": 60.0, "cpu_seconds": 60.0, **machine.here()}
        return {name: Measured(wanted, took, 1, "rehearsal") for name in NAMES}

    monkeypatch.setattr(rehearsal, "rehearse", rehearse)
    _, runs = load(write(tmp_path, variants={"a": {}, "b": {"samples.steps": 9}}))
    plans = planning.plan(runs, tmp_path / "data", calibrate=True)
    assert rehearsed == [28, 9]
    spent = [sum(one.seconds for one in own.estimates.values()) for own in plans]
    assert spent == [600, 240, 240, 240, 240, 240]


def test_the_plan_of_a_study_has_a_row_a_run(tmp_path: Path) -> None:
    done = irgen("plan", write(tmp_path), "--data", tmp_path / "data")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["run", "a, seed 0", "a, seed 1", "a, seed 2", "total"]
    assert lines[2].endswith(", ".join(AFTER))
    assert not (tmp_path / "data").exists()


def test_the_doctor_looks_at_every_run_and_tells_alike_findings_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reckoned: list[tuple[object, ...]] = []
    monkeypatch.setattr(memory, "plan", lambda *what: reckoned.append(what))
    variants = {"a": {}, "b": {"verifier.model": "local-dir:nowhere"}}
    done = irgen("doctor", write(tmp_path, variants=variants), "--data", tmp_path / "data")
    assert done.exit_code == 1
    assert done.stdout.count("packages") == 1 and done.stdout.count("nowhere") >= 1
    assert len(reckoned) == 1
