"""A canary in the place of every secret: nothing that a run leaves or says holds it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from irgen.settings import GraderChoice
from irgen.verifiers.grader import Grader
from tests.fake_stages import MANIFEST
from tests.prefect_home import settle

pytestmark = pytest.mark.faults

CANARY = "canary-4f1d9c7e"
NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GRADER_KEY", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "SSH_AUTH_SOCK")


def holding(folder: Path) -> list[Path]:
    """Files in whose names or bytes the canary is: database, logs, artifacts, manifests, pages."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and (CANARY in path.name or CANARY.encode() in path.read_bytes())
    ]


@pytest.mark.server
@pytest.mark.parametrize("fault", ["", "samples:bug", "samples:gate"])
def test_no_secret_of_the_environment_is_written_or_said(tmp_path, repository, prefect_home, fault):
    settle(prefect_home, tmp_path / "data")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(MANIFEST))
    environment = {**os.environ, "PYTHONPATH": str(repository), "IRGEN_FAKE": fault, **dict.fromkeys(NAMES, CANARY)}
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fake_stages", "--debug", "run", "tiny.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode == 0) == (fault == ""), done.stderr
    assert list(tmp_path.glob("data/tiny/06-samples/*"))
    assert holding(tmp_path) == []
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("status", [401, 500])
def test_a_refused_key_is_not_in_the_error(monkeypatch, status, caplog):
    monkeypatch.setenv("GRADER_KEY", CANARY)
    choice = GraderChoice(url="http://127.0.0.1:1/v1", model="m", api_key_env="GRADER_KEY")
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text="no"))
    grader = Grader(choice, transport, sleep=lambda seconds: None)
    scores = grader.score(np.zeros((1, 8, 8, 3), np.uint8), ["a street"])
    assert np.isnan(scores.value).all()
    assert CANARY not in "".join(scores.reasons or ()) + repr(grader) + repr(choice) + caplog.text
