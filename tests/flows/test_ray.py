"""A run on a Ray cluster of two nodes, which share a folder or object storage; one of them is killed under it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ray_cluster, storage
from tests.flows import serving
from tests.flows.serving import UP_S, Ui, until
from tests.flows.test_faults import assert_whole, committed_shards, data, parameters, undisturbed
from tests.ray_cluster import Cluster
from tests.storage import s3_server

__all__ = ["data", "s3_server", "undisturbed"]
pytest.importorskip("ray", reason="needs Ray: `pip install .[ray]`")
pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def storage_of_nodes(s3_server: str) -> dict[str, str]:
    """Variables by which nodes find a bucket named irgen."""
    found = storage.environment(s3_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        storage.client().create_bucket(Bucket="irgen")
    return found


@pytest.fixture(scope="module")
def cluster(storage_of_nodes: dict[str, str]) -> Iterator[Cluster]:
    with ray_cluster.running(**storage_of_nodes) as running:
        yield running


@pytest.fixture(scope="module", params=["", "s3://irgen/exchange"], ids=["folder", "storage"])
def ui(request: pytest.FixtureRequest, cluster: Cluster, storage_of_nodes: dict[str, str], data: Path) -> Iterator[Ui]:
    shared = {**storage_of_nodes, "RAY_ADDRESS": cluster.address, "IRGEN_EXCHANGE": request.param}
    cluster.tell("add")
    with serving.serving(data, **shared, **ray_cluster.LOOPBACK) as running:
        running.pause_schedules()
        yield running


def test_a_killed_node_costs_no_run(ui: Ui, cluster: Cluster, data: Path, undisturbed: bytes) -> None:
    begun = ui.start("samples/irgen", {**parameters(data), "executor": "ray"})
    until(lambda: sum("on node" in line for line in ui.logged(begun)) >= 2, "two lanes on two nodes", UP_S)
    until(lambda: committed_shards(data) > 0, "the first shard", UP_S)
    cluster.tell("lose")
    assert ui.end(begun)["type"] == "COMPLETED"
    until(lambda: any("its node or its Ray worker is gone" in line for line in ui.logged(begun)), "the lost lane's end")
    assert_whole(data, undisturbed)
