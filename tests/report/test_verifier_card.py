import json
from pathlib import Path

import numpy as np
import pytest
import torch

from irgen import files, records, store
from irgen.captions import forms
from irgen.errors import StoreError
from irgen.records import Caption, Frame, read_rows
from irgen.report import verifier_card
from irgen.report.verifier_card import make, second_source, table
from irgen.search import Scores
from tests.raw_frames import raw_frames


class Towers:
    """Image features: how bright and how textured; as the towers of a verifier would be."""

    image_size_px = (8, 10)

    def resize(self, images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2)

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([pixels.mean((1, 2, 3)), 1 - pixels.mean((1, 2, 3))], 1)


class Darkness:
    """Calls dark images infrared."""

    alpha = 0.5
    clip = Towers()

    def combine(self, infrared: np.ndarray, grayscale: np.ndarray) -> np.ndarray:
        return (1 - self.alpha) * infrared - self.alpha * grayscale

    def forms(self, captions: list[str]) -> torch.Tensor:
        return torch.tensor([[[0.0, 1.0], [1.0, 0.0]]] * len(captions))

    def score(self, images: np.ndarray, captions: list[str]) -> Scores:
        bright = images.mean((1, 2, 3)) / 255
        cosines = {"cos_infrared": 1 - bright, "cos_grayscale": bright}
        return Scores(self.combine(1 - bright, bright), cosines)


@pytest.fixture
def verifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished verifier stage in a dataset of drawn frames."""
    dataset = tmp_path / "data" / "tiny"
    frames = raw_frames(dataset / "01-frames" / "one", {"train": 6, "val": 4, "test": 12})
    rows = read_rows(frames / "frames.parquet", Frame)
    captions = dataset / "02-captions" / "one"
    captions.mkdir(parents=True)
    words = [(row, f"a road with {place % 3} people") for place, row in enumerate(rows)]
    records.write_rows(
        captions / "captions.parquet",
        [
            Caption(row.id, row.split, text, forms.infrared(text), forms.grayscale(text), "rules", 9, False)
            for row, text in words
        ],
        Caption.SCHEMA,
    )
    store.write_manifest(captions, {"stage": "captions", "settings": {}, "inputs": {}}, store.listing(captions))
    folder = dataset / "05-verifier" / "one"
    folder.mkdir(parents=True)
    histograms = {"edges": [-1.0, 0.0, 0.5, 1.0], "real": [0, 1, 9], "gray": [8, 2, 0], "match": [9, 9, 9]}
    files.write_json(folder / "calibration.json", {"after": {"histograms": histograms}})
    inputs = {"frames": store.ref(frames).content, "captions": store.ref(captions).content}
    document = {"stage": "verifier", "settings": {}, "inputs": inputs, "figures": {"auc": {"gray": 0.9, "match": 0.7}}}
    store.write_manifest(folder, document, store.listing(folder))
    monkeypatch.setattr(verifier_card.IrScore, "load", lambda path: Darkness())
    return folder


def test_a_card_has_every_negative_with_its_interval_on_test_frames_only(verifier: Path, tmp_path: Path) -> None:
    figures = make(verifier, None, tmp_path / "card", limit=500, seed=0)
    ground = figures["grounds"]["tiny, test split"]
    assert ground["n"] == 12 and set(ground["kinds"]) == {"gray", "inverted", "rgb", "agc"}
    for one in ground["kinds"].values():
        assert 0 <= one["auc"]["low"] <= one["auc"]["value"] <= one["auc"]["high"] <= 1
        assert one["by_alpha"]["0.5"] == one["auc"]["value"]
    assert json.loads((tmp_path / "card" / verifier_card.CARD).read_text()) == figures
    page = (tmp_path / "card" / verifier_card.PAGE).read_text()
    assert "inverted grayscale" in page and "https://" not in page and "<script" not in page
    assert len(table(figures)) == 1 + 4 + 1


def test_the_threshold_is_where_validation_scores_part_best(verifier: Path, tmp_path: Path) -> None:
    assert make(verifier, None, tmp_path / "card", limit=500, seed=0)["threshold"] == 0.5


def test_a_score_that_does_not_read_the_caption_matches_as_a_coin_does(verifier: Path, tmp_path: Path) -> None:
    figures = make(verifier, None, tmp_path / "card", limit=500, seed=0)
    assert figures["grounds"]["tiny, test split"]["match"] == 0.5


def test_another_source_is_read_and_all_its_frames_are_held_out(verifier: Path, tmp_path: Path) -> None:
    raw = tmp_path / "other"
    rng = np.random.default_rng(0)
    for part in ("visible", "lwir"):
        (raw / part).mkdir(parents=True)
        for number in range(6):
            verifier_card.files.write_bytes(
                raw / part / f"FLIR_{number:05d}.png",
                verifier_card.images.encode(rng.integers(0, 255, (16, 20, 3), dtype=np.uint8), "png"),
            )
    other = second_source("roadscene", str(raw), "")
    figures = make(verifier, other, tmp_path / "card", limit=4, seed=0)
    assert set(figures["grounds"]) == {"tiny, test split", "roadscene"}
    assert figures["grounds"]["roadscene"]["n"] == 4, "the limit"


def test_what_is_no_verifier_and_a_lost_frames_stage_are_named(verifier: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="an output of captions"):
        make(verifier.parents[1] / "02-captions" / "one", None, tmp_path / "card", limit=5, seed=0)
    (verifier.parents[1] / "02-captions" / "one" / store.MANIFEST).unlink()
    with pytest.raises(StoreError, match="the captions that the verifier was made of"):
        make(verifier, None, tmp_path / "card", limit=5, seed=0)


def test_no_second_source_is_none() -> None:
    assert second_source("", "", "") is None
