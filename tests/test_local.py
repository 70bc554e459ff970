"""`irgen ui`: server, worker and deployments on loopback, all gone when it is stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import local
from irgen.errors import SettingsError
from irgen.pipeline import NAMES

UP_S = 240


class Ui:
    """A running `irgen ui`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api{path}", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def run(self, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Run a deployment and return the state that it ends in."""
        found = self.call(f"/deployments/name/{deployment}")
        run = self.call(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline:
            state: dict[str, Any] = self.call(f"/flow_runs/{run['id']}")["state"]
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED"):
                return state
            time.sleep(0.5)
        pytest.fail("the run did not end")


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    port = local.free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from irgen.cli import main; main()",
            "ui",
            "--port",
            str(port),
            "--data",
            str(tmp_path_factory.mktemp("data")),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith("http")), "")
    try:
        assert line.split()[0] == f"http://127.0.0.1:{port}"
        yield Ui(process, line.split()[0])
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.server
def test_the_address_serves_a_deployment_for_every_stage_and_for_all_of_them(ui: Ui) -> None:
    assert ui.call("/health") is True
    found = {(each["name"], each["entrypoint"].split(":")[1]) for each in ui.call("/deployments/filter", {})}
    assert found == {("irgen", name) for name in (*NAMES, "build_dataset")}


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
@pytest.mark.browser
def test_the_pages_show_the_deployments(ui: Ui, tmp_path: Path) -> None:
    browser = _chromium()
    try:
        browser.get(f"{ui.url}/deployments")
        deadline = time.monotonic() + 60
        while "build_dataset" not in browser.page_source and time.monotonic() < deadline:
            time.sleep(0.5)
        picture = tmp_path / "deployments.png"
        browser.save_screenshot(str(picture))
        assert "build_dataset" in browser.page_source, picture
    finally:
        browser.quit()


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


def _chromium() -> Any:
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("needs chromium and chromedriver on the PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(option)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
