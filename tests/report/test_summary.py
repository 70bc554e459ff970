import json
from pathlib import Path
from typing import Any

import pytest

from irgen import files, store
from irgen.pipeline import Outcome
from irgen.report import summary
from irgen.store import Ref


@pytest.fixture
def outcomes(tmp_path: Path, figures: dict[str, Any]) -> dict[str, Outcome]:
    def outcome(stage: str, seconds: float, own: dict[str, Any]) -> Outcome:
        folder = tmp_path / stage
        folder.mkdir()
        files.write_json(folder / store.COST, {"seconds": seconds, "host": "somewhere"})
        return Outcome(Ref(stage=stage, path=str(folder), content="c"), True, 0.01, own)

    labels = {"mode": "teacher", "boxes": 300, "ignored": 40, "agreement": 0.8, "classes": ["person"]}
    return {"shards": outcome("shards", 4.5, {"labels": labels}), "report": outcome("report", 20, figures)}


def test_a_summary_has_what_people_ask_for(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    document = json.loads(json.dumps(summary(outcomes)))
    assert document["dataset"] == str(tmp_path / "shards")
    assert document["fid"] == {"floor": 0.52, "grayscale": 9.43, "unguided": 3.88, "guided": 2.19}
    assert document["irscore"] == {"real": 0.121, "grayscale": -0.084, "unguided": 0.062, "guided": 0.149}
    assert document["verifier_auc"]["gray"] == 0.998 and document["verifier_auc"]["match"] == 0.814
    assert (document["images"], document["nfe_per_image"], document["n"]) == (256, 120, 256)
    assert document["feature_net"] == "scenenet"
    assert document["labels"] == {"mode": "teacher", "boxes": 300, "ignored": 40, "agreement": 0.8}


def test_a_reused_stage_is_said_to_have_taken_what_making_it_took(outcomes: dict[str, Outcome]) -> None:
    assert summary(outcomes)["seconds"] == {"shards": 4.5, "report": 20}
    (outcomes["shards"].ref.folder / store.COST).unlink()
    assert summary(outcomes)["seconds"] == {"shards": 0.01, "report": 20}
