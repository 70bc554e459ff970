"""What kill -9 does to a run: nothing that the next one does not mend, to the byte."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from irgen import files, shards, store
from irgen.shards import committed
from tests.flows import serving
from tests.flows.serving import TINY, Ui, until

pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.slow]

CRASHED_S = 180
CANCELLED_S = 30
SAMPLES = {**TINY["samples"], "images": 120}
FLOW_PROCESS, LANE, WORKER, SERVER = "prefect.engine", "irgen.lane", "worker start", "prefect.server.api.server"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def ui(data: Path) -> Iterator[Ui]:
    with serving.serving(data) as running:
        running.pause_schedules()
        yield running


@pytest.fixture(scope="module")
def undisturbed(ui: Ui, data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The manifest of the samples that a run without lanes or faults makes; the data folder is ready for another."""
    path = serving.manifest(tmp_path_factory.mktemp("manifest") / "tiny.yaml")
    built = ui.run("build_dataset/irgen", {"manifest": str(path), "data": str(data)})
    assert built["type"] == "COMPLETED", built["message"]
    files.remove_tree(data / "tiny" / "06-samples")
    made = ui.run("samples/irgen", {**parameters(data), "lanes": 0})
    assert made["type"] == "COMPLETED", made["message"]
    manifest = output(data)[1]
    files.remove_tree(data / "tiny" / "06-samples")
    return manifest


@pytest.fixture
def begun(ui: Ui, data: Path, undisturbed: bytes) -> str:
    """A run of the same samples in two lanes that has committed its first shard, and its id."""
    files.remove_tree(data / "tiny" / "06-samples")
    run_id = ui.start("samples/irgen", parameters(data))
    until(lambda: committed_shards(data) > 0, "the first shard", serving.UP_S)
    return run_id


def parameters(data: Path) -> dict[str, Any]:
    return {"dataset": "tiny", "data": str(data), "samples": SAMPLES, "base": TINY["base"], "lanes": 2}


def committed_shards(data: Path) -> int:
    return len(list((data / "tiny" / "06-samples").glob(f"*/{committed.COMMIT}/*.json")))


def output(data: Path) -> tuple[Path, bytes]:
    """Return the one samples output and its manifest."""
    (path,) = (data / "tiny" / "06-samples").glob(f"*/{store.MANIFEST}")
    return path.parent, path.read_bytes()


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def assert_whole(data: Path, undisturbed: bytes) -> None:
    folder, manifest = output(data)
    assert manifest == undisturbed
    assert shards.verify(folder) == []
    assert [record.key for record in shards.read(folder)] == [f"{index:09d}" for index in range(SAMPLES["images"])]


def test_a_killed_lane_is_replaced_and_the_run_completes(ui: Ui, data: Path, undisturbed: bytes, begun: str) -> None:
    kill(ui.processes(LANE)[:1])
    assert ui.end(begun)["type"] == "COMPLETED"
    assert_whole(data, undisturbed)


def test_a_killed_flow_process_takes_its_lanes_along_and_the_next_run_carries_on(
    ui: Ui, data: Path, undisturbed: bytes, begun: str
) -> None:
    lanes = ui.processes(LANE)
    kill(ui.processes(FLOW_PROCESS))
    until(lambda: not any(alive(lane) for lane in lanes), "orphans", 10)
    until(lambda: ui.state(begun)["type"] == "CRASHED", "the worker's word", CRASHED_S)
    assert ui.run("samples/irgen", parameters(data))["type"] == "COMPLETED"
    assert_whole(data, undisturbed)


def test_a_killed_worker_is_replaced_and_its_run_completes(ui: Ui, data: Path, undisturbed: bytes, begun: str) -> None:
    kill(ui.processes(WORKER))
    if ui.end(begun)["type"] != "COMPLETED":
        assert ui.run("samples/irgen", parameters(data))["type"] == "COMPLETED"
    assert_whole(data, undisturbed)


def test_a_run_whose_worker_was_killed_with_it_does_not_stay_running(
    ui: Ui, data: Path, undisturbed: bytes, begun: str
) -> None:
    kill(ui.processes(WORKER) + ui.processes(FLOW_PROCESS))
    until(lambda: ui.state(begun)["type"] == "CRASHED", "the automation", CRASHED_S)
    assert "No heartbeat" in ui.state(begun)["message"]
    assert ui.run("samples/irgen", parameters(data))["type"] == "COMPLETED"
    assert_whole(data, undisturbed)


def test_a_server_that_is_gone_for_a_while_fails_no_run(ui: Ui, data: Path, undisturbed: bytes, begun: str) -> None:
    (server,) = ui.processes(SERVER)
    server.suspend()
    time.sleep(15)
    server.kill()
    assert ui.end(begun)["type"] == "COMPLETED"
    assert_whole(data, undisturbed)


def test_a_cancelled_run_stops_all_lanes_and_leaves_nothing_torn(
    ui: Ui, data: Path, undisturbed: bytes, begun: str
) -> None:
    ui.call(f"/flow_runs/{begun}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    until(lambda: not ui.processes(LANE), "the end of the lanes", CANCELLED_S)
    until(lambda: ui.state(begun)["type"] == "CANCELLED", "the worker's word")
    (folder,) = (data / "tiny" / "06-samples").glob("[0-9a-f]*")
    assert [line for line in shards.verify(folder) if "not finished" not in line] == []
    assert ui.run("samples/irgen", parameters(data))["type"] == "COMPLETED"
    assert_whole(data, undisturbed)


def test_two_runs_of_the_same_samples_at_once_both_complete(ui: Ui, data: Path, undisturbed: bytes, begun: str) -> None:
    beside = ui.start("samples/irgen", parameters(data))
    assert [ui.end(run_id)["type"] for run_id in (begun, beside)] == ["COMPLETED", "COMPLETED"]
    assert_whole(data, undisturbed)
