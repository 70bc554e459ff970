"""`irgen ui`: server, worker and deployments on loopback, all gone when it is stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import automation, local, stale
from irgen.errors import SettingsError
from irgen.pipeline import NAMES
from tests.flows.serving import Ui, serving, until
from tests.prefect_home import settle

FINISH = """
import pathlib, sys
from irgen.pipeline import Outcome
from irgen.store import Ref
from tasks import events
shards = Outcome(Ref(stage="shards", path=sys.argv[1], content="c"), False, 1.0, {})
events.publish_finished("tiny", shards, pathlib.Path("index.html"), {"images": 3})
"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path) -> Iterator[Ui]:
    with serving(settle(prefect_home, tmp_path_factory.mktemp("data"))) as running:
        yield running


@pytest.mark.server
def test_the_address_serves_a_deployment_for_every_stage_and_for_all_of_them(ui: Ui) -> None:
    assert ui.call("/health") is True
    found = {(each["name"], each["entrypoint"].split(":")[1]) for each in ui.call("/deployments/filter", {})}
    assert found == {("irgen", name) for name in (*NAMES, "build_dataset", "study")}


@pytest.mark.server
def test_the_form_of_a_stage_is_its_settings(ui: Ui) -> None:
    schema = ui.call("/deployments/name/samples/irgen")["parameter_openapi_schema"]
    assert "candidates" in schema["definitions"]["RandomSearch"]["properties"]
    assert schema["required"] == ["dataset"]


@pytest.mark.server
def test_a_run_that_fails_shows_our_message(ui: Ui) -> None:
    state = ui.run("captions/irgen", {"dataset": "tiny"})
    assert state["type"] == "FAILED"
    assert "01-frames: holds no finished output for captions to read" in state["message"]


@pytest.mark.server
def test_the_nightly_build_is_scheduled_and_never_runs_beside_itself(ui: Ui) -> None:
    found = ui.call("/deployments/name/build_dataset/irgen")
    assert [(each["schedule"]["cron"], each["schedule"]["timezone"]) for each in found["schedules"]] == [
        ("0 2 * * *", "UTC")
    ]
    assert found["global_concurrency_limit"]["limit"] == 1
    assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    deadline = time.monotonic() + 120
    while ui.call("/flow_runs/count", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}) == 0:
        assert time.monotonic() < deadline, "the server's scheduler made no run"
        time.sleep(0.5)
    ui.pause_schedules()


@pytest.mark.server
def test_silent_runs_are_marked_as_crashed_by_an_automation_that_is_there_once(ui: Ui) -> None:
    automation.ensure(f"{ui.url}/api", local.ROOT / "automations.yaml")
    found = ui.call("/automations/filter", {})
    assert [(each["name"], each["enabled"]) for each in found] == [("mark silent runs as crashed", True)]
    assert found[0]["trigger"]["within"] > 2 * local.HEARTBEAT_S


@pytest.mark.server
def test_deploying_to_a_pool_that_is_missing_names_it(ui: Ui) -> None:
    text = (local.ROOT / "prefect.yaml").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "samples/irgen", "--pool", "absent"],
        cwd=local.ROOT,
        env={**os.environ, "PREFECT_API_URL": f"{ui.url}/api"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "absent" in done.stdout + done.stderr
    assert (local.ROOT / "prefect.yaml").read_text() == text


@pytest.mark.server
def test_a_finished_dataset_starts_the_flow_that_was_hung_on_it(ui: Ui, tmp_path: Path) -> None:
    deploy = ["--no-prompt", "deploy", "--all", "--prefect-file", "flows/examples/prefect.yaml"]
    environment = {**os.environ, "PREFECT_API_URL": f"{ui.url}/api", "PWD": str(local.ROOT)}
    subprocess.run([sys.executable, "-m", "prefect", *deploy], cwd=local.ROOT, env=environment, check=True)
    subprocess.run([sys.executable, "-c", FINISH, str(tmp_path)], cwd=local.ROOT, env=environment, check=True)
    wanted = {"flows": {"name": {"any_": ["train_detector"]}}}
    until(lambda: bool(ui.call("/flow_runs/filter", wanted)), "the automation")
    (run,) = ui.call("/flow_runs/filter", wanted)
    assert run["parameters"]["dataset"] == str(tmp_path)
    state = ui.end(run["id"])
    assert state["type"] == "FAILED" and f"{tmp_path}: " in state["message"]


@pytest.mark.server
def test_a_run_whose_process_is_gone_is_told_by_the_doctor(
    ui: Ui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = ui.call("/flows/filter", {"flows": {"name": {"any_": ["samples"]}}})[0]["id"]
    asked = {"flow_id": flow, "name": "lonely", "parameters": {"dataset": "tiny", "data": str(tmp_path)}}
    run = ui.call("/flow_runs/", {**asked, "state": {"type": "RUNNING"}})["id"]
    monkeypatch.setenv("PREFECT_API_URL", f"{ui.url}/api")
    (check,) = stale.look(tmp_path)
    assert check.found.startswith("1 running")
    monkeypatch.setattr(stale, "SILENT_S", 1)
    time.sleep(1.5)
    (check,) = stale.look(tmp_path)
    assert check.what == "stale run" and f"lonely ({run})" in check.found
    automation.call("DELETE", f"{ui.url}/api/flow_runs/{run}")
    (check,) = stale.look(tmp_path)
    assert check.found.endswith("none stale")


@pytest.mark.server
def test_a_server_that_dies_is_started_again(ui: Ui) -> None:
    (server,) = ui.processes("prefect.server.api.server")
    server.kill()
    deadline = time.monotonic() + 120
    while not local.answers(f"{ui.url}/api"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert ui.call("/deployments/name/samples/irgen")["name"] == "irgen"


@pytest.mark.server
def test_sigterm_ends_everything_that_it_started(ui: Ui) -> None:
    children = psutil.Process(ui.process.pid).children(recursive=True)
    assert len(children) >= 2
    ui.process.send_signal(signal.SIGTERM)
    assert ui.process.wait(60) == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"--port {port}: cannot be used"):
            local.serve(tmp_path / "data", port, lambda url: None)
    assert not (tmp_path / "data").exists()


def test_nothing_is_sent_out_of_the_machine(tmp_path: Path) -> None:
    settings = local.environment(tmp_path, 4200)
    assert settings["PREFECT_API_URL"].startswith("http://127.0.0.1:")
    assert Path(settings["PREFECT_HOME"]).is_relative_to(tmp_path)
    off = ("PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_SERVER_UI_V2_ENABLED", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE")
    assert {settings[name] for name in off} == {"false"}
    assert settings["DO_NOT_TRACK"] == "1"


def test_children_die_with_their_parent() -> None:
    code = "from flows import local; p = local.start(['http.server', '0']); print(p.pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    child.wait(20)


def test_a_process_that_cannot_live_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = local.Kept("the thing", lambda: subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]))
    with pytest.raises(local.ServerError, match=r"the thing does not stay alive \(exit code 3\)"):
        for _ in range(local.SHORT_LIVES + 1):
            kept.process.wait()
            kept.look_after()


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{local.free_port()}/api")
    for name in ("LOGGING_HANDLERS_CONSOLE_LEVEL", "LOGGING_EXTRA_LOGGERS", "FLOWS_HEARTBEAT_FREQUENCY"):
        monkeypatch.setenv(f"PREFECT_{name}", "")  # it sets these; put back for the tests after this one
    with pytest.raises(local.ServerError, match="no Prefect server answers"):
        local.build(Path("manifests/miniature.yaml"), tmp_path, None, None, 0, debug=False)
