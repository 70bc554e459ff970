import importlib
import time


def test_the_ratio_is_that_of_the_two_ways_cpu_times_and_who_begins_alternates(monkeypatch):
    alternating = importlib.import_module("alternating")
    now = 0.0
    order = []

    def tick() -> float:
        return now

    def way(name: str, cost: float):
        def run() -> None:
            nonlocal now
            order.append(name)
            now += cost

        return run

    monkeypatch.setattr(time, "process_time", tick)
    report = alternating.compare(way("slow", 3.0), way("fast", 1.5), 3)
    assert report["ratio"] == report["ratio_min"] == report["ratio_max"] == 2.0
    assert (report["cpu_s_compared"], report["cpu_s"], report["pairs"]) == (3.0, 1.5, 3)
    assert order == ["slow", "fast", "fast", "slow", "slow", "fast"]
