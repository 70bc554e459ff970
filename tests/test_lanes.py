"""Lanes over a stage of a few lines: real processes, killed and watched."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from irgen import hosts, lanes, shards
from irgen.errors import SettingsError
from irgen.hosts import LocalHosts
from irgen.lane import Plan
from irgen.settings import SamplesSettings
from tests.shards import outputs

pytestmark = pytest.mark.faults
ITEMS, PER_SHARD = 24, 3


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "COMMAND", (sys.executable, "-m", "tests.fake_lanes"))
    monkeypatch.setattr(lanes, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(lanes, "AGAIN_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def plan(out: Path) -> Plan:
    settings = SamplesSettings(images=ITEMS, images_per_shard=PER_SHARD).model_dump(mode="json")
    return Plan(stage="samples", sections={"samples": settings}, inputs={}, out=str(out), parent=os.getpid())


def finished(out: Path) -> dict[str, bytes]:
    outputs.opened(out, items=ITEMS, per_shard=PER_SHARD).finish()
    outputs.seal(out)
    return {name: data for name, data in outputs.contents(out).items() if not name.startswith("_tmp/")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    output = outputs.opened(out, items=ITEMS, per_shard=PER_SHARD)
    for number in output.missing():
        outputs.add(output, number)
    return finished(out)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_lanes_makes_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes], count: int) -> None:
    heard: list[lanes.Progress] = []
    lanes.run(plan(tmp_path / "out"), count, heard.append)
    assert finished(tmp_path / "out") == undisturbed
    end = heard[-1]
    assert (end.images, end.total, len(end.lanes)) == (ITEMS, ITEMS, count)
    assert sum(each.shards for each in end.lanes) == ITEMS // PER_SHARD
    assert not any(each.running for each in end.lanes) and all(each.memory_mb > 1 for each in end.lanes)


@pytest.mark.parametrize("how", ["die:2", "unreachable"])
def test_a_lane_that_is_killed_or_not_answered_costs_its_shard_and_is_started_again(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", how)
    heard: list[lanes.Progress] = []
    lanes.run(plan(tmp_path / "out"), 1, heard.append)
    assert finished(tmp_path / "out") == undisturbed
    assert heard[-1].images == ITEMS
    assert [each.starts for each in heard[-1].lanes] == [2]


def test_a_shard_that_no_lane_survives_fails_the_run_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "always:7")
    with pytest.raises(lanes.LaneError, match=r"1 shards missing, the first is 7.*lane 0: exit code -9"):
        lanes.run(plan(tmp_path / "out"), 1)
    assert lanes.unmade(tmp_path / "out") == [7]


def test_what_a_lane_refuses_is_said_once_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "refuse")
    with pytest.raises(SettingsError, match=r"(?s)nfe = 3 is less than one image needs.*Raise it to 8"):
        lanes.run(plan(tmp_path / "out"), 2)


def test_an_error_that_nobody_foresaw_is_named_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "bug")
    monkeypatch.setattr(lanes, "AGAIN_S", (0.0,))
    with pytest.raises(lanes.LaneError, match="TypeError: unsupported operand"):
        lanes.run(plan(tmp_path / "out"), 1)


def test_what_is_told_of_a_death_is_its_own_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "worse")
    with pytest.raises(lanes.LaneError, match=r"no lane is left \(lane 0: exit code -9\)"):
        lanes.run(plan(tmp_path / "out"), 1)


def test_a_lane_is_started_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "bug")
    monkeypatch.setattr(lanes, "AGAIN_S", (0.0, 2.0))
    started = time.monotonic()
    with pytest.raises(lanes.LaneError, match="TypeError"):
        lanes.run(plan(tmp_path / "out"), 1)
    assert time.monotonic() - started > 2
    assert [text for text in ("started again\n", "started again in 2 s", "go on without it") if text in caplog.text]


@pytest.mark.parametrize("how", ["freeze", "hang"])
def test_a_lane_that_stands_still_is_killed_though_others_are_heard_all_the_time(
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", f"{how}:2")

    def watch(progress: lanes.Progress) -> None:
        """Wait no longer than this once all have started."""
        if all(each.memory_mb for each in progress.lanes):
            if how == "freeze":
                monkeypatch.setattr(hosts, "SILENT_S", 3.0)
            else:
                monkeypatch.setattr(lanes, "STUCK_S", 3.0)
                monkeypatch.setattr(lanes, "STUCK_TIMES", 1.0)

    lanes.run(plan(tmp_path / "out"), 2, watch)
    assert finished(tmp_path / "out") == undisturbed
    reason = {"freeze": "silent for 3 s", "hang": r"no image for \d+ s"}[how]
    assert re.search(rf"ended \({reason}\), 3 images are made anew", caplog.text)


def test_a_lane_that_says_nothing_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "mute")
    monkeypatch.setattr(lanes, "AGAIN_S", ())
    monkeypatch.setattr(hosts, "SILENT_S", 0.5)
    with pytest.raises(lanes.LaneError, match=r"silent for"):
        lanes.run(plan(tmp_path / "out"), 1)


def test_interrupted_lanes_end_and_leave_whole_shards_only(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(progress: lanes.Progress) -> None:
        if progress.images == 4:
            raise KeyboardInterrupt

    monkeypatch.setenv("IRGEN_FAKE_LANE", "wait:0.2")
    with pytest.raises(KeyboardInterrupt):
        lanes.run(plan(tmp_path / "out"), 2, interrupt)
    assert _lane_processes(tmp_path) == []
    assert all("differs" not in line and "damaged" not in line for line in shards.verify(tmp_path / "out"))
    monkeypatch.delenv("IRGEN_FAKE_LANE")
    lanes.run(plan(tmp_path / "out"), 2)
    assert finished(tmp_path / "out") == undisturbed


def test_lanes_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from irgen import lanes; from tests import test_lanes\n"
        "lanes.COMMAND = (sys.executable, '-m', 'tests.fake_lanes')\n"
        "lanes.run(test_lanes.plan(pathlib.Path(sys.argv[1])), 2)"
    )
    environment = {**os.environ, "IRGEN_FAKE_LANE": "wait:1"}
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], env=environment)
    until(lambda: len(_lane_processes(tmp_path)) == 2 and (tmp_path / "out" / "run.json").exists())
    parent.kill()
    assert parent.wait() == -signal.SIGKILL
    until(lambda: _lane_processes(tmp_path) == [])


def test_lanes_outlive_whoever_read_what_they_print(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = (
        "import pathlib, sys; from irgen import lanes; from tests import test_lanes\n"
        "lanes.COMMAND = (sys.executable, '-m', 'tests.fake_lanes')\n"
        "lanes.run(test_lanes.plan(pathlib.Path(sys.argv[1])), 2)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert parent.stdout is not None
    parent.stdout.close()  # as of a worker that was killed
    assert parent.wait() == 0
    assert finished(tmp_path / "out") == undisturbed


def test_each_lane_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [host.environment["CUDA_VISIBLE_DEVICES"] for host in LocalHosts().take(3)] == ["3", "5", "3"]
    assert LocalHosts().wanted(0) == 2


def test_without_gpus_lanes_share_the_cores_and_are_not_started_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    host = LocalHosts().take(cores)[0]
    assert (host.device, host.environment) == ("cpu", {"OMP_NUM_THREADS": "1"})
    assert (LocalHosts().wanted(0), LocalHosts().wanted(4)) == (0, 4)


def _lane_processes(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if f"{folder}/out/_tmp/lanes.json" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
