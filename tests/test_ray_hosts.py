"""Lanes on a real Ray cluster of this machine: two nodes, one of which is killed."""

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from irgen import executors, lanes
from irgen.errors import SettingsError, StoreError
from tests import ray_cluster, storage
from tests.ray_cluster import Cluster
from tests.storage import bucket, s3_server
from tests.test_lanes import ITEMS, PER_SHARD, finished, plan, undisturbed, until

__all__ = ["bucket", "s3_server", "undisturbed"]
ray = pytest.importorskip("ray", reason="needs Ray: `pip install .[ray]`")
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    opened = tmp_path_factory.mktemp("gate") / "open"
    opened.touch()
    return opened


@pytest.fixture(scope="module")
def cluster(s3_server: str, gate: Path) -> Iterator[Cluster]:
    """A cluster whose lanes take a while for each image, and go on after the first when its gate is open."""
    known = {"IRGEN_FAKE_LANE": "wait:0.1", "IRGEN_FAKE_GATE": str(gate), **storage.environment(s3_server)}
    with ray_cluster.running(**known) as running:
        yield running


@pytest.fixture(autouse=True)
def _fakes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    # As Ray does by itself on Windows and macOS: else it takes 127.0.0.1 for the machine's outward address.
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    monkeypatch.setattr(lanes, "COMMAND", ("python", "-m", "tests.fake_lanes"))
    monkeypatch.setattr(lanes, "TELL_EVERY_S", 0.0)


def lane_processes() -> list[int]:
    """Processes of fake lanes that are alive."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if "tests.fake_lanes" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def test_a_lost_node_costs_the_shard_it_was_at_and_no_byte(
    cluster: Cluster, gate: Path, tmp_path: Path, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cluster.tell("add")
    gate.unlink()
    heard: list[lanes.Progress] = []
    lost: list[int] = []

    def lose(progress: lanes.Progress) -> None:
        heard.append(progress)
        if all(each.images for each in progress.lanes) and not lost:
            lost.append(progress.images)
            cluster.tell("lose")
            gate.touch()

    caplog.set_level(logging.WARNING, "irgen.lanes")
    with executors.opened("ray") as where:
        assert (where.wanted(0), where.wanted(7)) == (2, 7)
        lanes.run(plan(tmp_path / "out"), 2, lose, where)
    assert finished(tmp_path / "out") == undisturbed
    assert lost
    assert (heard[-1].images, sum(each.shards for each in heard[-1].lanes)) == (ITEMS, ITEMS // PER_SHARD)
    [said] = [record.getMessage() for record in caplog.records if "are made anew" in record.getMessage()]
    assert "its node or its Ray worker is gone" in said
    assert int(said.partition(" images are made anew")[0].rpartition(" ")[2]) <= PER_SHARD


def test_nodes_that_share_no_folder_make_the_same_bytes_and_a_lost_one_costs_its_shard(
    cluster: Cluster,
    gate: Path,
    bucket: str,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.tell("add")
    gate.unlink()
    lost: list[int] = []

    def lose(progress: lanes.Progress) -> None:
        if all(each.images for each in progress.lanes) and not lost:
            lost.append(progress.images)
            cluster.tell("lose")
            gate.touch()

    wanted = plan(tmp_path / "out").model_copy(update={"exchange": f"s3://{bucket}/irgen"})
    monkeypatch.setattr(Path, "cwd", lambda: Path("/only/here"))
    with executors.opened("ray") as where:
        lanes.run(wanted, 2, lose, where)
    assert finished(tmp_path / "out") == undisturbed
    assert lost
    assert len(list(cluster.caches.glob("*/irgen/outputs/out/*/run.json"))) == 2
    assert storage.contents(bucket, "irgen") == {}


def test_a_run_that_is_stopped_ends_its_lanes_and_keeps_its_own_way_to_be_stopped(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    def interrupt(progress: lanes.Progress) -> None:
        if progress.images == 4:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    with executors.opened("ray") as where:
        assert signal.getsignal(signal.SIGTERM) is before
        with pytest.raises(KeyboardInterrupt):
            lanes.run(plan(tmp_path / "out"), 1, interrupt, where)
        until(lambda: lane_processes() == [], seconds=20)
        lanes.run(plan(tmp_path / "out"), 1, where=where)
    assert finished(tmp_path / "out") == undisturbed


def test_what_a_node_does_not_see_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with executors.opened("ray") as where:
        monkeypatch.setattr(Path, "cwd", lambda: Path("/only/here"))
        with pytest.raises(StoreError, match=r"(?s)node 127.0.0.1 has no /only/here.*under the same path"):
            lanes.run(plan(tmp_path / "out"), 1, where=where)


def test_lanes_without_a_place_are_waited_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PLACE_S", 2.0)
    with executors.opened("ray") as where:
        [host] = where.take(1)
        host.needs["num_cpus"] = 64
        monkeypatch.setattr(where, "take", lambda count: [host])
        with pytest.raises(lanes.LaneError, match="no machine had room for any of 1 lanes in 2 s"):
            lanes.run(plan(tmp_path / "out"), 1, where=where)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto"])
def test_an_address_where_no_cluster_answers_is_refused_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    said = rf"(?s)RAY_ADDRESS = {address}: no Ray cluster.*HOST:PORT"
    with pytest.raises(SettingsError, match=said), executors.opened("ray"):
        pass


def test_a_machine_that_is_not_in_the_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*what: object, **how: object) -> None:
        raise RuntimeError("This node has an IP address of\n 192.0.2.7")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(SettingsError, match=r"address of 192.0.2.7\)"), executors.opened("ray"):
        pass


def test_a_ray_of_this_machine_alone_listens_on_loopback_and_sends_no_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import psutil; from irgen import executors\n"
        "with executors.opened('ray'):\n"
        "    from ray._common.usage import usage_lib\n"
        "    own = psutil.Process()\n"
        "    pids = {own.pid, *(each.pid for each in own.children(recursive=True))}\n"
        "    found = [each for each in psutil.net_connections('tcp') if each.pid in pids and each.status == 'LISTEN']\n"
        "    print(usage_lib.usage_stats_enabled(), *{each.laddr.ip.removeprefix('::ffff:') for each in found})\n"
    )
    monkeypatch.delenv("RAY_ADDRESS")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "127.0.0.1"]
