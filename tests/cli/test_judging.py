"""Commands that judge, as their user meets them."""

import json
from pathlib import Path
from typing import Any

import pytest

from irgen.metrics import proxy
from tests import test_detections
from tests.cli.terminal import irgen
from tests.report.test_comparing import report


def test_compare_prints_what_is_better_and_writes_a_page_if_asked(tmp_path: Path) -> None:
    a, b = report(tmp_path, "a", 4.0), report(tmp_path, "b", 9.0)
    told = irgen("compare", a, b)
    assert told.exit_code == 0
    (line,) = (line for line in told.stdout.splitlines() if "FID" in line)
    assert line.split()[-1] == "a" and "4.00 [3.00, 5.00]" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    document = json.loads(irgen("compare", a, b, "--out", tmp_path / "page.html", "--json").stdout)
    assert document["names"] == ["a", "b"]
    assert "3.00 to 5.00" in (tmp_path / "page.html").read_text()


def test_missrate_says_where_there_is_nothing_to_find(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    by_day = [{"id": place, "im_name": f"set06/V000/I000{place}9"} for place in range(3)]
    test_detections.write(truth, by_day, [test_detections.annotation(*row[:5]) for row in test_detections.ROWS])
    found = test_detections.text(tmp_path / "found.txt", test_detections.ROWS)
    arguments = ("missrate", "--truth", truth, "--detections", found)
    told = dict(line.split(maxsplit=1) for line in irgen(*arguments).stdout.splitlines())
    assert told["night"] == "nothing to find" and told["recall"] == "100.00"
    figures = json.loads(irgen(*arguments, "--json").stdout)
    assert figures["night"] is None and figures["recall"] == 100


def test_feature_net_hands_its_seed_on_and_shows_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(frames: Path, out: Path, *, seed: int) -> dict[str, Any]:
        return {"frames": frames.name, "seed": seed, "accuracy": {"blurred": 0.5}}

    monkeypatch.setattr(proxy, "train", train)
    arguments = ("feature-net", tmp_path / "frames", tmp_path / "net", "--seed", 7)
    told = dict(line.split() for line in irgen(*arguments).stdout.splitlines())
    assert told == {"frames": "frames", "seed": "7", "accuracy.blurred": "0.5"}
    assert json.loads(irgen(*arguments, "--json").stdout)["accuracy"] == {"blurred": 0.5}
