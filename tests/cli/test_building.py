"""Commands that build, as their user meets them."""

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from irgen import machine, rehearsal
from irgen.costs import Measured
from irgen.pipeline import NAMES, PlanLine
from irgen.settings import Manifest
from tests.cli.terminal import User, irgen
from tests.prefect_home import settle


def test_an_unknown_field_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text("dataset: a\nframes: {source: miniature}\nsamples: {imags: 3}\n")
    done = irgen("plan", manifest)
    assert done.exit_code == 2
    assert "m.yaml" in done.stderr
    assert "unknown field `samples.imags` (did you mean `images`?)" in done.stderr
    assert "Traceback" not in done.output


def test_a_plan_says_what_is_not_known_and_how_to_know_it(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text("dataset: a\nframes: {source: miniature}\nbase: {model: miniature}\n")
    done = irgen("plan", manifest, "--data", tmp_path / "data")
    assert done.exit_code == 0
    header, first, *_, total = done.stdout.splitlines()
    assert header.split() == ["stage", "action", "time", "GPU", "h", "disk", "money", "why"]
    assert first.split() == ["frames", "redo", "?", "?", "?", "not", "made", "yet"]
    assert total.split() == ["total", "?", "?", "?"]
    assert "`irgen plan --calibrate` finds out" in done.stderr
    document = json.loads(irgen("plan", manifest, "--data", tmp_path / "data", "--json", "--price", "2").stdout)
    assert list(document["stages"]) == list(NAMES)
    assert document["total"] == {"seconds": None, "gpu_hours": None, "bytes": None, "source": "", "money": None}
    assert not (tmp_path / "data").exists()


def test_a_calibration_fills_the_plan_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rehearse(wanted: Manifest, data: Path, lines: Sequence[PlanLine]) -> dict[str, Measured]:
        assert [line.action for line in lines] == ["redo"] * len(NAMES)
        took = {"seconds": 3600.0, "cpu_seconds": 3600.0, **machine.here()}
        return {name: Measured(wanted, took, 2**20, "rehearsal") for name in NAMES}

    monkeypatch.setattr(rehearsal, "rehearse", rehearse)
    monkeypatch.setattr(machine, "gpus", lambda: ["H200"])
    manifest = tmp_path / "m.yaml"
    manifest.write_text("dataset: a\nframes: {source: miniature}\nbase: {model: miniature}\n")
    done = irgen("plan", manifest, "--data", tmp_path, "--calibrate", "--price", "2.5")
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["samples"][1:8] == ["redo", "60.0", "min", "1.00", "1.0", "MiB", "2.50"]
    assert lines["shards"][4:8] == ["0.00", "1.0", "MiB", "0.00"]
    assert lines["total"][1:] == ["10.0", "h", "6.00", "10.0", "MiB", "15.00"]
    assert done.stderr == ""


def test_an_unknown_stage_is_refused_before_anything_starts(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text("dataset: a\nframes: {source: miniature}\n")
    done = irgen("run", manifest, "--from", "sample", "--data", tmp_path / "data")
    assert done.exit_code == 2
    assert "'sample'" in done.stderr and "Stages: frames, captions" in done.stderr
    assert not (tmp_path / "data").exists()


def test_frames_prints_its_counts_as_json_and_nothing_else_on_stdout(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("frames", "--source", "folder", "--root", photos, "--out", out, "--json")
    first = irgen(*arguments)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout) == {"frames": 1, "pairs": 0, "boxes": {}, "rejects": {"truncated_image": 1}}
    assert irgen(*arguments).stdout == first.stdout
    assert irgen("verify", out).exit_code == 0


def test_settings_lists_every_field_with_type_default_and_meaning() -> None:
    rows = {row["field"]: row for row in json.loads(irgen("settings", "--json").stdout)}
    assert rows["frames.scenes.train"]["default"] == "1200"
    assert rows["samples.search.candidates"]["type"] == "int"
    assert rows["samples.image_format"]["type"] == "png | jpg"
    assert rows["frames.source"]["default"] == "required"
    assert all(row["description"] or row["field"].endswith((".algorithm", ".name")) for row in rows.values())
    assert "verifier.bar.match: float = 0.65" in irgen("settings").stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path) -> Path:
    return settle(prefect_home, tmp_path_factory.mktemp("data"))


@pytest.fixture
def user(tmp_path: Path, data: Path, repository: Path) -> User:
    return User(tmp_path, data, repository)


@pytest.mark.server
def test_a_dataset_is_built_shown_reused_and_planned(user: User) -> None:
    code, out, err = user.irgen("run", "tiny.yaml")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["stage", "seconds", "key", "figure"]
    assert [line.split()[0] for line in lines[1 : 1 + len(NAMES)]] == list(NAMES)
    assert "auc.gray 0.99, auc.match 0.8" in lines[1 + NAMES.index("verifier")]
    assert lines[1 + len(NAMES)].startswith(f"report: {user.dataset}/09-report/")
    assert (user.dataset / "summary.json").exists()
    assert "prefect" not in err.lower()

    code, out, err = user.irgen("run", "tiny.yaml", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert list(document) == list(NAMES)
    assert all(stage["reused"] for stage in document.values())

    code, out, err = user.irgen("plan", "tiny.yaml", "--json")
    planned = json.loads(out)
    assert [(name, line["action"]) for name, line in planned["stages"].items()] == [(name, "reuse") for name in NAMES]
    assert planned["total"] == {"seconds": 0, "gpu_hours": 0, "bytes": 0, "source": "", "money": None}


@pytest.mark.server
def test_a_stage_that_fails_gives_its_message_alone(user: User) -> None:
    code, out, err = user.irgen("run", "tiny.yaml", IRGEN_FAKE="frames:gate")
    assert code == 1
    assert out == ""
    assert err.endswith("irgen: verifier: AUC against gray is 0.71, the bar is 0.98\n  Train longer.\n")
    assert "Traceback" not in err


@pytest.mark.server
def test_ctrl_c_is_one_line_and_the_next_run_carries_on(user: User) -> None:
    process = user.start("run", "tiny.yaml", environment={"IRGEN_FAKE": "captions:wait"})
    while not list(user.dataset.glob("02-captions/*/_tmp/waiting")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert err.endswith("interrupted; run the same command again to carry on\n")
    assert "Traceback" not in err
    out = user.irgen("plan", "tiny.yaml", "--json")[1]
    actions = {name: line["action"] for name, line in json.loads(out)["stages"].items()}
    assert (actions["frames"], actions["captions"]) == ("reuse", "resume")


@pytest.mark.server
def test_a_server_that_does_not_answer_is_named(user: User) -> None:
    code, _, err = user.irgen("run", "tiny.yaml", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert code == 1
    assert "PREFECT_API_URL = http://127.0.0.1:9/api: no Prefect server answers" in err
