"""Stage samples on bases that no adapter is trained for."""

from pathlib import Path

import pytest

from irgen import records, shards, store
from irgen.captions import forms
from irgen.errors import SettingsError
from irgen.generators import loading
from irgen.records import Caption
from irgen.settings import AdapterSettings, BaseSettings, HalvingSearch, SamplesSettings
from irgen.stages import adapter, samples
from tests.fakes import FakeVerifier
from tests.tiny_families import HEIGHT_PX, WIDTH_PX, tiny_pixart, tiny_sdxl

SETTINGS = SamplesSettings(
    images=2, steps=3, search=HalvingSearch(schedule=((3, 1), (1, 3))), batch_size=3, images_per_shard=2
)


@pytest.mark.parametrize("save", [tiny_sdxl, tiny_pixart])
def test_a_base_without_an_adapter_is_searched_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save) -> None:
    base = BaseSettings(
        model=str(save(tmp_path / "base")),
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        max_sequence_length=16,
        precision="fp32",
    )
    folders = {name: tmp_path / name for name in ("captions", "verifier", "adapter", "out")}
    for folder in folders.values():
        folder.mkdir()
    rows = [
        Caption(f"f{i}", "train", text, forms.infrared(text), forms.grayscale(text), "rules", 9, False)
        for i, text in enumerate(("a dog", "a car"))
    ]
    records.write_rows(folders["captions"] / "captions.parquet", rows, Caption.SCHEMA)
    with pytest.raises(SettingsError, match=r"(?s)adapters are trained on .*adapter\.train to false"):
        loading.load_trainable(base)
    adapter.run(AdapterSettings(train=False), base, tmp_path, folders["captions"], folders["adapter"])
    for name in ("adapter", "verifier"):
        store.write_manifest(folders[name], {"stage": name, "settings": {}}, store.listing(folders[name]))
    monkeypatch.setattr("irgen.verifiers.registry._single", lambda chosen, trained, teachers: FakeVerifier())
    figures = samples.run(SETTINGS, base, folders["captions"], folders["verifier"], folders["adapter"], folders["out"])
    # Classifier-free guidance: two evaluations a forward.
    assert figures["images"] == 2 and figures["nfe_per_image"] == 2 * (3 * 1 + 1 * 2)
    assert {record.sheet["guide"] for record in shards.read(folders["out"])} == {"irscore"}
