from pathlib import Path
from typing import Any

import pytest

from irgen import files, store
from irgen.errors import StoreError
from irgen.lineage import ancestors


def output(root: Path, stage: str, inputs: dict[str, str], seconds: float | None, **figures: Any) -> tuple[Path, str]:
    folder = root / stage / "0123"
    files.write_json(folder / "rows.json", stage)
    if seconds is not None:
        files.write_json(folder / store.COST, {"seconds": seconds})
    document = {"stage": stage.split("-")[1], "version": 1, "fingerprint": "0123", "settings": {}, "inputs": inputs}
    store.write_manifest(folder, {**document, "figures": figures}, store.listing(folder))
    return folder, store.ref(folder).content


def test_an_input_of_an_input_is_found_by_its_content(tmp_path: Path) -> None:
    _, frames = output(tmp_path, "01-frames", {"raw": "f" * 64}, 1.5)
    _, adapter = output(tmp_path, "04-adapter", {"frames": frames}, 60)
    samples, _ = output(tmp_path, "06-samples", {"adapter": adapter}, None)
    output(tmp_path, "05-verifier", {}, 9)
    found = ancestors([samples], tmp_path)
    assert [(one.manifest["stage"], one.seconds) for one in found] == [
        ("frames", 1.5),
        ("adapter", 60),
        ("samples", None),
    ]


def test_a_damaged_cost_is_no_fault_of_the_output(tmp_path: Path) -> None:
    frames, _ = output(tmp_path, "01-frames", {}, 1)
    (frames / store.COST).write_text('{"seconds"')
    assert [one.seconds for one in ancestors([frames], tmp_path)] == [None]


def test_a_damaged_output_that_is_not_an_ancestor_is_passed_over(tmp_path: Path) -> None:
    frames, _ = output(tmp_path, "01-frames", {}, 1)
    other, _ = output(tmp_path, "05-verifier", {}, 1)
    (other / store.MANIFEST).write_text("{}")
    assert len(ancestors([frames], tmp_path)) == 1
    with pytest.raises(StoreError, match="05-verifier"):
        ancestors([other], tmp_path)
