"""The whole pipeline as its user runs it, on the miniature made very small."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.prefect_home import settle

MANIFEST = {
    "dataset": "tiny",
    "base": {"model": "miniature", "height_px": 80, "width_px": 96, "max_sequence_length": 48},
    "frames": {"source": "miniature", "scenes": {"train": 48, "test": 24}},
    "verifier": {
        "model": "miniature",
        "pretrained": "",
        "steps": 4,
        "batch_size": 8,
        "validate_every": 2,
        "bar": {"gray": 0, "match": 0},
    },
    "adapter": {"steps": 3, "batch_size": 4, "checkpoint_every": 1, "grid_images": 2, "gradient_checkpointing": False},
    "teachers": {
        "detectors": [
            {"architecture": "fcos", "channels": 32, "steps": 3, "batch_size": 4},
            {"architecture": "faster_rcnn", "channels": 32, "steps": 3, "batch_size": 4},
        ]
    },
    "samples": {
        "images": 24,
        "steps": 3,
        "guidance": 1.0,
        "search": {"algorithm": "random", "candidates": 3},
        "batch_size": 6,
        "prompts_at_once": 2,
        "images_per_shard": 4,
    },
    "report": {"images": 16, "bootstrap": 5, "grid_images": 3, "feature_net": "scenenet"},
}


pytestmark = pytest.mark.server


class User:
    """Somebody at a terminal in an empty folder."""

    def __init__(self, folder: Path, prefect_home: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        settle(prefect_home, folder / "data")
        self.write(MANIFEST)

    def write(self, manifest: dict) -> None:
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(manifest))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"XDG_CACHE_HOME": str(self.folder / "cache")}
        return subprocess.Popen(
            [Path(sys.executable).parent / "irgen", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out

    def stages(self) -> dict[str, list[str]]:
        root = self.folder / "data" / "tiny"
        return {path.name: sorted(one.name for one in path.glob("*/manifest.json")) for path in sorted(root.glob("0*"))}

    def manifests(self) -> dict[str, bytes]:
        root = self.folder / "data" / "tiny"
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.glob("0[1-8]*/*/manifest.json"))
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prefect_home) -> User:
    user = User(tmp_path_factory.mktemp("undisturbed"), prefect_home)
    user.run("run", "tiny.yaml")
    return user


def test_an_image_is_the_same_with_any_number_of_threads(undisturbed, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "every byte the same" in undisturbed.run("regenerate", "data/tiny", "7")


def test_a_run_ends_with_the_dataset_the_report_and_the_summary(undisturbed):
    summary = json.loads((undisturbed.folder / "data/tiny/summary.json").read_text())
    assert set(summary["fid"]) == {"floor", "grayscale", "unguided", "guided"}
    assert set(summary["irscore"]) == {"real", "grayscale", "unguided", "guided"}
    assert {"gray", "inverted", "agc", "rgb", "match"} <= set(summary["verifier_auc"])
    assert summary["nfe_per_image"] == 9 and summary["images"] == 24
    assert set(summary["seconds"]) == {
        "frames", "captions", "negatives", "teachers", "verifier", "adapter", "samples", "labels", "shards", "report"
    }  # fmt: skip
    assert len(list((undisturbed.folder / summary["dataset"]).glob("shards/*.tar"))) == 6
    assert list((undisturbed.folder / "data/tiny").glob("09-report/*/index.html"))


def test_what_a_run_leaves_is_verified(undisturbed):
    found = json.loads(undisturbed.run("verify", "data/tiny", "--json"))
    assert found["sound"] and not found["problems"] and not found["unfinished"]


def test_a_second_run_redoes_nothing(undisturbed):
    before = undisturbed.manifests()
    # Of what is made again the cost is written again; a manifest is as new as its last use.
    times = {path: path.stat().st_mtime_ns for path in undisturbed.folder.rglob("cost.json")}
    assert times
    undisturbed.run("run", "tiny.yaml")
    assert undisturbed.manifests() == before
    assert {path: path.stat().st_mtime_ns for path in undisturbed.folder.rglob("cost.json")} == times


def test_a_change_of_the_search_redoes_stages_06_and_later_only(undisturbed):
    plan = json.loads(undisturbed.run("plan", "tiny.yaml", "--json"))["stages"]
    assert {line["action"] for line in plan.values()} == {"reuse"}
    changed = MANIFEST | {"samples": MANIFEST["samples"] | {"search": {"algorithm": "random", "candidates": 2}}}
    undisturbed.write(changed)
    try:
        plan = json.loads(undisturbed.run("plan", "tiny.yaml", "--json"))["stages"]
    finally:
        undisturbed.write(MANIFEST)
    actions = {stage: line["action"] for stage, line in plan.items()}
    assert {stage for stage, action in actions.items() if action == "redo"} == {"samples", "labels", "shards", "report"}
    assert "samples.search.candidates: 3 -> 2" in plan["samples"]["reason"]


def test_killed_at_any_moment_and_run_again_the_manifests_are_the_same_bytes(undisturbed, tmp_path, prefect_home):
    user = User(tmp_path / "killed", prefect_home)
    for wanted in ("04-adapter/*/_tmp/*", "06-samples/*/commit/*.json", "06-samples/*/commit/*1.json"):
        process = user.start("run", "tiny.yaml")
        deadline = time.monotonic() + 240
        while not list((user.folder / "data" / "tiny").glob(wanted)) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    user.run("run", "tiny.yaml")
    assert user.manifests() == undisturbed.manifests()
    user.run("verify", "data/tiny")
