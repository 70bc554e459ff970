"""A run on a Ray cluster of two nodes, one of which is killed under it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ray_cluster
from tests.flows import serving
from tests.flows.serving import Ui, until
from tests.flows.test_faults import assert_whole, committed_shards, data, parameters, undisturbed
from tests.ray_cluster import Cluster

__all__ = ["data", "undisturbed"]
pytest.importorskip("ray", reason="needs Ray: `pip install .[ray]`")
pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster.running() as running:
        running.tell("add")
        yield running


@pytest.fixture(scope="module")
def ui(cluster: Cluster, data: Path) -> Iterator[Ui]:
    with serving.serving(data, RAY_ADDRESS=cluster.address, **ray_cluster.LOOPBACK) as running:
        yield running


def test_a_killed_node_costs_no_run(ui: Ui, cluster: Cluster, data: Path, undisturbed: bytes) -> None:
    begun = ui.start("samples/irgen", {**parameters(data), "executor": "ray"})
    until(lambda: sum("on node" in line for line in ui.logged(begun)) == 2, "two lanes on two nodes")
    until(lambda: committed_shards(data) > 0, "the first shard")
    cluster.tell("lose")
    assert ui.end(begun)["type"] == "COMPLETED"
    assert any("its node or its Ray worker is gone" in line for line in ui.logged(begun))
    assert_whole(data, undisturbed)
