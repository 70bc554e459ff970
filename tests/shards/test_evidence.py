"""What is found out about a dataset after it was written, told in the cards of its exports."""

from pathlib import Path

import pytest

from irgen import store
from irgen.exports import export
from irgen.shards import evidence
from irgen.shards.dataset import Dataset, find
from tests.finished import finished

REPORT = {
    "n": 256,
    "feature_net": "scenenet",
    "resamplings": 100,
    "resampled": "18 whole videos of real frames and of single generated images",
    "fid": {"guided": 21.2, "floor": 3.91, "grayscale": None},
    "irscore": {"guided": 0.0992},
    "intervals": {"fid": {"guided": [17.2, 27.2]}},
    "judges": {
        "random-conv": {
            "independent": True,
            "figures": {"recall": {"guided": {"value": 0.5, "low": 0.4, "high": 0.6}, "unguided": {"value": 0.55}}},
        },
        "verifier": {"independent": False, "figures": {"frechet": {"guided": {"value": 1.0}}}},
    },
}
TEACHERS = {
    "trained": True,
    "frames": {"train": 900, "val": 200},
    "labels": {"person": {"precision": 0.95, "recall": 0.7, "ignored": 0.1, "boxes": 70.0, "objects": 95.0}},
}


@pytest.fixture
def dataset(tmp_path) -> Path:
    return finished(tmp_path / "tiny")


def output(root: Path, name: str, inputs: dict, figures: dict, settings: dict) -> Path:
    """Leave a finished output of a stage behind."""
    folder = root / name / ("a" * 16)
    folder.mkdir(parents=True)
    (folder / "report.json").write_bytes(evidence.files.json_bytes(figures))
    document = {"stage": name[3:], "fingerprint": "a" * 16, "settings": settings, "inputs": inputs, "figures": figures}
    store.write_manifest(folder, document, store.listing(folder))
    return folder


def card(dataset: Path, out: Path) -> str:
    export(dataset, "coco", out)
    return (out / "README.md").read_text()


def test_the_report_of_these_shards_is_told_with_n_and_intervals(dataset, tmp_path):
    folder = output(dataset, "09-report", {"shards": Dataset.open(dataset).manifest["content"]}, REPORT, {})
    told = card(dataset, tmp_path / "a")
    assert "N = 256 on both sides; feature net scenenet" in told
    assert "| this dataset | FID | 21.2 [17.2, 27.2] |" in told
    assert "| real training frames | FID | 3.91 |" in told
    assert "grayscale of the visible" not in told
    assert "| random-conv | recall | 0.5 [0.4, 0.6] | 0.55 |" in told
    assert "not independent" not in told
    (folder / "report.json").write_bytes(b"{}")
    assert "No report was made" in card(dataset, tmp_path / "b")


def test_a_report_of_other_shards_is_not_told(dataset, tmp_path):
    output(dataset, "09-report", {"shards": "0" * 64}, REPORT, {})
    assert "No report was made of this dataset yet" in card(dataset, tmp_path / "a")


def test_the_detectors_figures_on_held_out_frames_are_told(dataset, tmp_path):
    samples = next((dataset / "07-labels").glob("*"))
    teachers = output(dataset, "03-teachers", {}, TEACHERS, {"mark": {"precision": 0.92}})
    manifest = store.read_manifest(samples)
    document = {name: value for name, value in manifest.items() if name not in ("files", "content")}
    document["inputs"] = {"teachers": store.ref(teachers).content}
    store.write_manifest(samples, document, store.listing(samples))
    told = card(dataset, tmp_path / "a")
    assert "held-out frames of other videos" in told
    assert "| person | 95 | 0.950 | 0.700 |" in told
    assert "mark:\n  precision: 0.92" in told


def test_an_audit_is_of_boxes_not_of_the_place_of_shards(dataset, tmp_path):
    here, there = Dataset.open(dataset), Dataset.open(finished(tmp_path / "other"))
    assert find(dataset) != find(tmp_path / "other")
    assert evidence.labels_digest(here) == evidence.labels_digest(there)
    unlabelled = Dataset.open(finished(tmp_path / "unlabelled", labelled=False))
    assert evidence.labels_digest(here) != evidence.labels_digest(unlabelled)
