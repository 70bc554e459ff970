import json
from pathlib import Path
from typing import Any

import pytest

from irgen import files, store
from irgen.errors import SettingsError, StoreError
from irgen.report.comparing import compare, table, write


def figure(value: float, width: float = 1.0) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def report(root: Path, name: str, fid: float, **changes: Any) -> Path:
    folder = root / name / "09-report" / "one"
    folder.mkdir(parents=True)
    metrics = {
        "frechet": {"guided": figure(fid)},
        "recall": {"guided": figure(0.5)},
        "copying": {"guided": figure(fid)},
    }
    document = {
        "n": 64,
        "feature_net": "scenenet",
        "compression": "lossless on both sides",
        "mix": {"day": 31, "night": 33},
        "judges": {"scenenet": {"independent": True, "figures": metrics}},
        "images_figures": {"irscore": {"guided": figure(fid / 10, 0.01), "real": figure(1)}},
        **changes,
    }
    files.write_json(folder / "report.json", document)
    store.write_manifest(folder, {"stage": "report", "settings": {}, "inputs": {}}, store.listing(folder))
    return root / name


def test_what_is_better_beyond_both_intervals_is_said(tmp_path: Path) -> None:
    found = compare(report(tmp_path, "a", 4.0), report(tmp_path, "b", 9.0))
    better = {row["metric"]: row["better"] for row in found["figures"]}
    assert better == {"irscore": "b", "frechet": "a", "recall": "", "copying": ""}
    assert found["names"] == ["a", "b"] and found["n"] == 64
    assert ("scenenet", "FID ↓", "4.00 [3.00, 5.00]", "9.00 [8.00, 10.00]", "a") in table(found)


def test_an_output_of_the_report_stage_may_be_named_itself(tmp_path: Path) -> None:
    a, b = report(tmp_path, "a", 4.0), report(tmp_path, "b", 4.5)
    assert compare(a / "09-report" / "one", b)["names"] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 50}, "unequal N do not compare: 64 and 50"),
        ({"feature_net": "inception"}, "the feature net"),
        ({"compression": "JPEG"}, "the coding"),
        ({"mix": {"day": 64}}, "the mix of day and night"),
    ],
)
def test_what_does_not_compare_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    a, b = report(tmp_path, "a", 4.0), report(tmp_path, "b", 9.0, **changes)
    with pytest.raises(SettingsError, match=message):
        compare(a, b)


def test_nearly_the_same_mix_compares(tmp_path: Path) -> None:
    found = compare(report(tmp_path, "a", 4.0), report(tmp_path, "b", 9.0, mix={"day": 33, "night": 31}))
    assert found["n"] == 64 and found["figures"]


def test_a_dataset_without_a_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="empty: has no finished report"):
        compare(tmp_path / "empty", report(tmp_path, "b", 9.0))


def test_the_page_marks_the_better_one_and_asks_for_nothing(tmp_path: Path) -> None:
    found = compare(report(tmp_path, "a", 4.0), report(tmp_path, "b", 9.0))
    write(found, tmp_path / "compare.html")
    html = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert html.count("chip good") == 2 and "https://" not in html and "<script" not in html
    assert json.dumps(found)
