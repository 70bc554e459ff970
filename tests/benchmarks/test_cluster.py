"""The simulated cluster, made small: its clock, its losses, and that they change no byte."""

import importlib
from typing import Any

import pytest


@pytest.fixture
def cluster() -> Any:
    return importlib.import_module("cluster")


def test_simulated_time_goes_on_to_whoever_wakes_next_and_one_works_at_a_time(cluster: Any) -> None:
    clock, seen = cluster.Clock(), []

    def life(name: str, naps: list[float]) -> None:
        for nap in naps:
            clock.sleep(nap)
            seen.append((clock.now_s, name))

    clock.run([lambda: life("a", [3, 3]), lambda: life("b", [1, 4, 4])])
    assert seen == [(1, "b"), (3, "a"), (5, "b"), (6, "a"), (9, "b")]


def test_what_a_life_raises_comes_out_when_all_have_ended(cluster: Any) -> None:
    clock, ended = cluster.Clock(), []

    def fails() -> None:
        raise ValueError("of its own")

    def lives() -> None:
        clock.sleep(5)
        ended.append(clock.now_s)

    with pytest.raises(ValueError, match="of its own"):
        clock.run([fails, lives])
    assert ended == [5]


def test_stragglers_and_lost_nodes_cost_time_and_no_byte(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BETWEEN_LOSSES_S", 150.0)
    monkeypatch.setattr(cluster, "LANES_A_NODE", 4)
    monkeypatch.setattr(cluster, "AWAY_S", 60.0)
    monkeypatch.setattr(cluster, "LOAD_S", 10.0)
    monkeypatch.setattr(cluster, "POLL_S", 1.0)
    calm = cluster.simulate(240, lanes=16, per_shard=4, disturbed=False)
    rough = cluster.simulate(240, lanes=16, per_shard=4)
    # 60 shards for 16 lanes are four rounds.
    assert calm["simulated_h"] * 3600 == pytest.approx(10 + 4 * 4 * cluster.IMAGE_S, rel=0.1)
    assert calm["lanes_lost"] == 0 < rough["lanes_lost"]
    assert calm["simulated_h"] < rough["simulated_h"]
    assert calm["manifest_sha256"] == rough["manifest_sha256"]
    assert calm["images"] == rough["images"] == 240 and rough["shards"] == 60
    assert 0 < rough["overhead_share"] < 0.1
