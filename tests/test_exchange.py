"""Lanes on machines without a common folder: real processes, a real S3-compatible server."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from irgen import exchange, files, lanes, store
from irgen.errors import SettingsError, StoreError, UnreachableError
from irgen.lane import Plan
from irgen.shards.exchanged import CLAIM, Exchange
from tests.shards import outputs
from tests.storage import bucket, contents, s3_server
from tests.test_lanes import ITEMS, PER_SHARD, finished, plan, undisturbed

__all__ = ["bucket", "s3_server", "undisturbed"]
pytestmark = pytest.mark.s3


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lanes, "COMMAND", (sys.executable, "-m", "tests.fake_lanes"))
    monkeypatch.setattr(lanes, "TELL_EVERY_S", 0.0)
    monkeypatch.setattr(lanes, "AGAIN_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))


@pytest.fixture
def exchanged(bucket: str, tmp_path: Path) -> Plan:
    return plan(tmp_path / "out").model_copy(update={"exchange": f"s3://{bucket}/irgen"})


def test_lanes_elsewhere_make_the_same_bytes_and_leave_no_shard_there(
    exchanged: Plan, bucket: str, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    heard: list[lanes.Progress] = []
    lanes.run(exchanged, 2, heard.append)
    assert finished(tmp_path / "out") == undisturbed
    assert contents(bucket, "irgen") == {}
    end = heard[-1]
    assert (end.images, end.total) == (ITEMS, ITEMS)
    assert sum(each.shards for each in end.lanes) == ITEMS // PER_SHARD


def test_a_shard_that_two_lanes_were_at_is_counted_once(
    exchanged: Plan, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "hang:2")
    real, claims = Exchange.clear, []

    def clear(self: Exchange) -> None:
        claims.extend(self._there.sizes(f"{CLAIM}/"))
        real(self)

    monkeypatch.setattr(Exchange, "clear", clear)
    heard: list[lanes.Progress] = []
    lanes.run(exchanged, 2, heard.append)
    assert [name for name in claims if name.endswith(".1")] == ["claim/000002.1"]
    assert finished(tmp_path / "out") == undisturbed
    assert (heard[-1].images, sum(each.shards for each in heard[-1].lanes)) == (ITEMS, ITEMS // PER_SHARD)


def test_a_killed_lane_elsewhere_costs_its_shard_alone(
    exchanged: Plan, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "die:2")
    heard: list[lanes.Progress] = []
    lanes.run(exchanged, 1, heard.append)
    assert finished(tmp_path / "out") == undisturbed
    assert heard[-1].images == ITEMS
    assert [each.starts for each in heard[-1].lanes] == [2]


def test_what_an_interrupted_run_made_is_not_made_again(
    exchanged: Plan, bucket: str, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "always:7")
    with pytest.raises(lanes.LaneError, match="1 shards missing, the first is 7"):
        lanes.run(exchanged, 1)
    left = contents(bucket, "irgen/samples/out")
    assert len([name for name in left if name.startswith("commit/")]) == ITEMS // PER_SHARD - 1
    monkeypatch.delenv("IRGEN_FAKE_LANE")
    heard: list[lanes.Progress] = []
    lanes.run(exchanged, 1, heard.append)
    assert (heard[-1].images, heard[-1].total) == (PER_SHARD, PER_SHARD)
    assert finished(tmp_path / "out") == undisturbed


def test_each_machine_fetches_a_stages_inputs_once(bucket: str, tmp_path: Path) -> None:
    verifier = tmp_path / "data" / "tiny" / "04-verifier" / "abc"
    outputs.fill(verifier)
    there = exchange.Shared("samples", {"verifier": str(verifier)}, tmp_path / "out", f"s3://{bucket}/irgen")
    [name] = {name.split("/")[1] for name in contents(bucket, "irgen")}
    assert there.inputs == {"verifier": f"s3://{bucket}/irgen/inputs/{name}"}
    inputs, out = exchange.unpacked(there.inputs, str(tmp_path / "out"))
    folder = Path(inputs["verifier"])
    assert folder == tmp_path / "elsewhere" / "irgen" / "inputs" / name
    assert store.problems(folder) == [] and store.ref(folder) == store.ref(verifier).model_copy(
        update={"path": str(folder)}
    )
    assert Path(out) == tmp_path / "elsewhere" / "irgen" / "outputs" / "out" / platform.node()
    before = {path: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}
    (folder / "run.json").unlink()
    assert exchange.unpacked(there.inputs, str(tmp_path / "out")) == (inputs, out)
    assert store.problems(folder) == []
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}


def test_what_is_made_anew_takes_nothing_of_what_an_interrupted_run_left(
    exchanged: Plan, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRGEN_FAKE_LANE", "always:7")
    with pytest.raises(lanes.LaneError):
        lanes.run(exchanged, 1)
    files.remove_tree(tmp_path / "out")
    monkeypatch.delenv("IRGEN_FAKE_LANE")
    heard: list[lanes.Progress] = []
    lanes.run(exchanged, 1, heard.append, anew=True)
    assert (heard[-1].images, heard[-1].total) == (ITEMS, ITEMS)
    assert finished(tmp_path / "out") == undisturbed


def test_a_storage_that_does_not_answer_for_a_while_costs_no_run(
    exchanged: Plan,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fetch(self: exchange.Shared, number: int) -> bool:
        raise UnreachableError("s3://irgen: SlowDown", "Later.")

    monkeypatch.setattr(exchange.Shared, "fetch", fetch)
    lanes.run(exchanged, 2)
    assert finished(tmp_path / "out") == undisturbed
    assert "SlowDown; it is fetched at the end" in caplog.text


def test_scratch_of_lanes_that_a_cluster_killed_is_removed(bucket: str, tmp_path: Path) -> None:
    scratch = tmp_path / "elsewhere" / "irgen" / "outputs" / "out" / platform.node() / files.TMP
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f"000123.{gone.pid}.0a1b2c3d", f"000124.{os.getpid()}.0a1b2c3d", "guide.lock"):
        (scratch / name).mkdir(parents=True)
    exchange.unpacked({}, str(tmp_path / "out"))
    assert {path.name for path in scratch.iterdir()} == {f"000124.{os.getpid()}.0a1b2c3d", "guide.lock"}


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("datasets/irgen", SettingsError, r"datasets/irgen/samples/out: no address of an output"),
        ("s3://no-such-bucket-here/irgen", StoreError, "there is no bucket 'no-such-bucket-here'"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_before_any_lane_starts(
    exchanged: Plan, address: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        lanes.run(exchanged.model_copy(update={"exchange": address}), 1)
