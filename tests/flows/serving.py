"""A running `irgen ui`, and a dataset so small that all its stages take half a minute."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import automation, local

UP_S = 900
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

TINY: dict[str, Any] = {
    "dataset": "tiny",
    "base": {"model": "miniature", "height_px": 80, "width_px": 96, "max_sequence_length": 48},
    "frames": {"source": "miniature", "scenes": {"train": 48, "test": 24, "seed": 0}},
    "captions": {"train_frames": 24, "val_frames": 8, "test_frames": 16, "max_tokens": 49},
    "negatives": {"kinds": ["gray"]},
    "verifier": {
        "model": "miniature",
        "pretrained": "",
        "steps": 2,
        "batch_size": 8,
        "warmup_steps": 0,
        "validate_every": 2,
        "bar": {"gray": 0, "match": 0},
    },
    "adapter": {"rank": 2, "alpha": 2, "steps": 2, "batch_size": 2, "gradient_accumulation": 1, "grid_images": 4},
    "samples": {
        "images": 6,
        "steps": 2,
        "search": {"algorithm": "random", "candidates": 2},
        "batch_size": 4,
        "prompts_at_once": 2,
        "images_per_shard": 2,
    },
    "labels": {"mode": "none"},
    "report": {"images": 6, "bootstrap": 0, "grid_images": 4},
}


def manifest(path: Path, **sections: dict[str, Any]) -> Path:
    """Write the tiny dataset's manifest, with some fields changed."""
    changed = {name: {**TINY.get(name, {}), **fields} for name, fields in sections.items()}
    path.write_text(yaml.safe_dump({**TINY, **changed}))
    return path


class Ui:
    """A running `irgen ui`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api{path}", data, {"content-type": "application/json"})
        for tries_left in reversed(range(6)):
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                if error.code != 503 or not tries_left:  # Prefect's word for a database that was busy
                    raise
                time.sleep(2)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Run a deployment and return the run's id."""
        found = self.call(f"/deployments/name/{deployment}")
        run_id: str = self.call(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]
        return run_id

    def pause_schedules(self) -> None:
        """Let no run begin by itself: the nightly one would take the cores for ten minutes."""
        for deployment in self.call("/deployments/filter", {}):
            for schedule in deployment["schedules"]:
                address = f"{self.url}/api/deployments/{deployment['id']}/schedules/{schedule['id']}"
                automation.call("PATCH", address, {"active": False})

    def state(self, run_id: str) -> dict[str, Any]:
        state: dict[str, Any] = self.call(f"/flow_runs/{run_id}")["state"]
        return state

    def end(self, run_id: str, *, before: str = "") -> dict[str, Any]:
        """Wait until a run has ended and return its state; not the one with the id `before`."""
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # a test may have killed the server for a while
                state = self.state(run_id)
                if state["type"] in ENDS and state["id"] != before:
                    return state
            time.sleep(0.5)
        pytest.fail("the run did not end")

    def logged(self, run_id: str) -> list[str]:
        """Return the messages of a run's log, the oldest first."""
        lines = self.call("/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"})
        return [line["message"] for line in lines]

    def run(self, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Run a deployment and return the state that it ends in."""
        return self.end(self.start(deployment, parameters))

    def processes(self, words: str) -> list[psutil.Process]:
        """Return its processes with these words in their command lines."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def until(true: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@contextlib.contextmanager
def serving(data: Path, **variables: str) -> Iterator[Ui]:
    """Start `irgen ui` with these variables on a free port, and stop it."""
    port = local.free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | variables
    command = [sys.executable, "-c", "from irgen.cli import main; main()", "ui", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--data", str(data)], env=environment, stdout=subprocess.PIPE, text=True, cwd=local.ROOT
    )
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if line.startswith("http")), "")
        assert line.split()[0] == f"http://127.0.0.1:{port}"
        yield Ui(process, line.split()[0])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
