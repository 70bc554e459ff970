"""What a run will take, reckoned from what was taken."""

import os
from pathlib import Path
from typing import Any

import pytest

from irgen import amounts, costs, files, machine, pipeline, store
from irgen.costs import Estimate, Measured
from irgen.pipeline import PlanLine
from irgen.settings import Manifest

MANIFEST = Manifest.model_validate(
    {
        "dataset": "tiny",
        "frames": {"source": "miniature"},
        "base": {"model": "miniature"},
        "adapter": {"steps": 100, "batch_size": 2, "gradient_accumulation": 1},
        "samples": {"images": 40, "steps": 4, "search": {"algorithm": "random", "candidates": 3}},
    }
)


def part(count: int, seconds: float, first: int = 0, first_seconds: float = 0.0) -> dict[str, float]:
    times = {"seconds": seconds, "cpu_seconds": 2 * seconds}
    return {"count": count, **times, "first": first, **{f"first_{name}": first_seconds for name in times}}


def cost(seconds: float, **parts: dict[str, float]) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_seconds": 2 * seconds, "resumed": False, "parts": parts, **machine.here()}


def changed(section: str, manifest: Manifest = MANIFEST, **fields: Any) -> Manifest:
    return manifest.model_copy(update={section: getattr(manifest, section).model_copy(update=fields)})


def output(
    data: Path, stage: str, manifest: Manifest, document: dict[str, Any] | None = None, name: str = "0" * 16
) -> Path:
    """Write a finished output of 1,000 bytes that took what the document says."""
    one = pipeline.stage_named(stage)
    folder = data / manifest.dataset / one.folder_name / name
    files.write_bytes(folder / "x", bytes(1000))
    store.write_cost(folder, cost(10.0) if document is None else document)
    sections = {section: getattr(manifest, section).model_dump(mode="json") for section in one.sections}
    figures = {"images": manifest.samples.images}
    body = {"stage": stage, "fingerprint": name, "version": 1, "settings": sections, "inputs": {}, "figures": figures}
    store.write_manifest(folder, body, store.listing(folder))
    return folder


def planned(*stages: str, action: str = "redo") -> list[PlanLine]:
    return [PlanLine(stage, action, "", None) for stage in stages]


def test_what_is_under_a_bar_grows_with_the_work_and_the_rest_does_not() -> None:
    known = Measured(MANIFEST, cost(80.0, **{"adapter: train": part(100, 60.0)}), 0)
    assert costs.predicted("adapter", changed("adapter", steps=300), known).seconds == pytest.approx(20 + 3 * 60)
    assert costs.predicted("adapter", changed("adapter", batch_size=1), known).seconds == pytest.approx(20 + 30)
    assert costs.predicted("adapter", MANIFEST, known, "cpu_seconds").seconds == pytest.approx(160)


def test_a_bar_of_frames_grows_with_the_frames() -> None:
    parts = {"adapter: encode": part(1000, 5.0), "adapter: train": part(100, 60.0)}
    known = Measured(MANIFEST, cost(70.0, **parts), 0)
    half = changed("captions", train_frames=500)
    assert costs.predicted("adapter", half, known).seconds == pytest.approx(5 + 2.5 + 60)
    more_than_drawn = changed("captions", train_frames=2000)
    assert costs.predicted("adapter", more_than_drawn, known).seconds == pytest.approx(5 + 5 * 1.02 + 60)


def test_warming_up_is_paid_once() -> None:
    known = Measured(MANIFEST, cost(50.0, samples=part(4, 40.0, first=1, first_seconds=31.0)), 0)
    tenfold = costs.predicted("samples", changed("samples", images=400), known)
    assert tenfold.seconds == pytest.approx(10 + 28 + 10 * 4 * 3)


def test_a_single_unit_is_all_that_is_known_of_a_rate() -> None:
    known = Measured(MANIFEST, cost(50.0, samples=part(40, 40.0, first=40, first_seconds=39.0)), 0)
    assert costs.predicted("samples", changed("samples", images=80), known).seconds == pytest.approx(10 + 80)


def test_without_parts_everything_grows() -> None:
    known = Measured(MANIFEST, cost(50.0), 0)
    assert costs.predicted("samples", changed("samples", images=80), known).seconds == pytest.approx(100)


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"images": 80}, 2),
        ({"search": {"algorithm": "random", "candidates": 6}}, 2),
        ({"steps": 8}, 2),
        ({"search": {"algorithm": "halving", "schedule": [[8, 2], [1, 4]]}}, 1.5),
        ({"search": {"algorithm": "calibrated", "nfe": 12, "prompts": 10, "noises": 12}}, 2),
        ({"search": {"algorithm": "zero_order", "warm_start": 1, "neighbours": 1, "iterations": 2, "cosine": None,
                     "prompts": 8}}, 2),
        ({"guide": {"name": "ensemble", "members": [{"verifier": {"name": n}} for n in ("irscore", "realism")],
                    "prompts": 30, "candidates": 4}}, 2),
    ],
)  # fmt: skip
def test_samples_cost_what_the_network_is_evaluated(fields: dict[str, Any], times: float) -> None:
    document = MANIFEST.model_dump()
    document["samples"] |= fields
    assert amounts.nfe(Manifest.model_validate(document)) == times * amounts.nfe(MANIFEST) == times * 480


def test_bytes_grow_where_files_do(tmp_path: Path) -> None:
    known = Measured(MANIFEST, cost(10.0), 1000)
    thrice = changed("samples", images=120)
    assert [costs.predicted(stage, thrice, known).bytes for stage in ("samples", "labels", "shards")] == [3000] * 3
    assert costs.predicted("adapter", changed("adapter", steps=300), known).bytes == 1000
    more = changed("samples", search=MANIFEST.samples.search.model_copy(update={"candidates": 9}))
    assert costs.predicted("samples", more, known).bytes == 1000


def test_gpu_hours_and_money_are_of_stages_that_use_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Measured(MANIFEST, cost(1800.0), 0)
    assert costs.predicted("samples", MANIFEST, known).gpu_hours == 0
    monkeypatch.setattr(machine, "gpus", lambda: ["H200"])
    samples = costs.predicted("samples", MANIFEST, known)
    assert (samples.gpu_hours, samples.document(3.0)["money"]) == (0.5, 1.5)
    assert samples.document(None)["money"] is None
    assert costs.predicted("shards", MANIFEST, known).document(3.0)["money"] == 0


def test_lanes_share_the_work_and_each_uses_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {**cost(3700.0, samples=part(40, 3600.0)), "lanes": 1}
    together = {**cost(1000.0, samples=part(40, 900.0)), "lanes": 4}
    monkeypatch.setattr(machine, "gpus", lambda: ["H200"] * 4)
    for known in (Measured(MANIFEST, alone, 0), Measured(MANIFEST, together, 0)):
        found = costs.predicted("samples", MANIFEST, known)
        assert (found.seconds, found.gpu_hours) == (1000.0, pytest.approx(4 * 1000 / 3600))
    monkeypatch.setattr(machine, "gpus", list)
    assert costs.predicted("samples", MANIFEST, Measured(MANIFEST, together, 0)).seconds == 1000.0


def test_a_captioner_that_looks_uses_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ["H200"])
    seen = changed("captions", captioner="vlm", vlm_model="x")
    hours = [costs.predicted("captions", one, Measured(one, cost(3600.0), 0)).gpu_hours for one in (MANIFEST, seen)]
    assert hours == [0.0, 1.0]


def test_the_newest_output_of_this_machine_with_like_settings_is_taken(tmp_path: Path) -> None:
    output(tmp_path, "adapter", MANIFEST, cost(9.0), "1" * 16)
    newest = output(tmp_path, "adapter", changed("adapter", steps=50), cost(7.0), "2" * 16)
    os.utime(newest / store.MANIFEST, ns=(0, 2**62))
    found = costs.estimate(MANIFEST, tmp_path, planned("adapter"), {})["adapter"]
    assert found == Estimate(14.0, 0.0, 1000, str(newest))


@pytest.mark.parametrize(
    ("manifest", "document"),
    [
        (MANIFEST, {**cost(9.0), "host": "another"}),
        (MANIFEST, {**cost(9.0), "gpus": ["another"]}),
        (MANIFEST, {**cost(9.0), "resumed": True}),
        (MANIFEST, {}),
        (MANIFEST, {**cost(9.0), "parts": {"adapter: train": {"count": "many"}}}),
        (MANIFEST, {**cost(9.0), "parts": []}),
        (changed("base", width_px=512), cost(9.0)),
        (changed("adapter", gradient_checkpointing=False), cost(9.0)),
        (changed("adapter", train=False), cost(9.0)),
    ],
)
def test_what_tells_nothing_of_this_run_here_is_not_known(
    tmp_path: Path, manifest: Manifest, document: dict[str, Any]
) -> None:
    output(tmp_path, "adapter", manifest, document)
    assert costs.estimate(MANIFEST, tmp_path, planned("adapter"), {}) == {"adapter": costs.UNKNOWN}


def test_an_output_of_a_field_that_is_gone_or_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    for name, key in (("1" * 16, "settings"), ("2" * 16, "digest")):
        folder = output(tmp_path, "adapter", MANIFEST, cost(9.0), name)
        body = store.read_manifest(folder)
        body[key] = {"adapter": {"of_old": 1}}
        write = files.write_json if key == "digest" else lambda path, doc: files.write_bytes(path, files.sealed(doc))
        write(folder / store.MANIFEST, body)
    assert costs.estimate(MANIFEST, tmp_path, planned("adapter"), {}) == {"adapter": costs.UNKNOWN}


def test_other_datasets_tell_of_their_base_alone(tmp_path: Path) -> None:
    other = MANIFEST.model_copy(update={"dataset": "other"})
    for stage in ("adapter", "captions"):
        output(tmp_path, stage, other, cost(9.0))
    found = costs.estimate(MANIFEST, tmp_path, planned("adapter", "captions"), {})
    assert (found["adapter"].seconds, found["captions"].seconds) == (9.0, None)
    output(tmp_path, "adapter", MANIFEST, cost(8.0))
    assert costs.estimate(MANIFEST, tmp_path, planned("adapter"), {})["adapter"].seconds == 8.0


def test_labels_and_shards_are_reckoned_by_the_images_they_had(tmp_path: Path) -> None:
    for stage in ("labels", "shards"):
        output(tmp_path, stage, changed("samples", images=10), cost(5.0))
    found = costs.estimate(MANIFEST, tmp_path, planned("labels", "shards"), {})
    assert [found[stage].seconds for stage in ("labels", "shards")] == [20.0, 20.0]


def test_a_rehearsal_comes_before_older_outputs_and_what_is_done_costs_nothing(tmp_path: Path) -> None:
    output(tmp_path, "adapter", MANIFEST, cost(9.0))
    rehearsed = {"adapter": Measured(MANIFEST, cost(4.0), 0, "rehearsal")}
    assert costs.estimate(MANIFEST, tmp_path, planned("adapter"), rehearsed)["adapter"].seconds == 4.0
    done = costs.estimate(MANIFEST, tmp_path, planned("adapter", action="reuse"), rehearsed)
    assert done == {"adapter": costs.NOTHING}


def test_a_sum_with_something_unknown_in_it_is_not_known() -> None:
    one = Estimate(2.0, 0.5, 10.0)
    assert costs.total([one, one]) == Estimate(4.0, 1.0, 20.0)
    assert costs.total([one, costs.UNKNOWN]) == costs.UNKNOWN
    assert costs.cells(costs.UNKNOWN, 2.0) == ("?", "?", "?", "?")
    assert costs.cells(Estimate(7300.0, 2.0, 2.0**20), 2.0) == ("2.0 h", "2.00", "1.0 MiB", "4.00")


def test_every_stage_has_its_work_and_it_grows() -> None:
    assert tuple(amounts.WORK) == pipeline.NAMES
    more = MANIFEST.model_dump()
    more["frames"]["scenes"] |= {"train": 2400, "test": 1024}
    more["captions"] |= {"train_frames": 2000, "val_frames": 1000, "test_frames": 4504}
    for one in (*more["teachers"]["detectors"], more["adapter"], more["verifier"]):
        one["steps"] *= 2
    more["samples"]["images"] *= 2
    more["report"]["images"] *= 2
    twice = Manifest.model_validate(more)
    for stage, work in amounts.WORK.items():
        assert work.amount(twice) == 2 * work.amount(MANIFEST), stage
        assert work.like(twice) == work.like(MANIFEST), stage
