"""`irgen regenerate`: an image from its score sheet alone."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from irgen import cli, files, records, regenerate, shards, store, weights
from irgen.captions import forms
from irgen.errors import SettingsError, StoreError, WeightsError
from irgen.records import Caption
from irgen.settings import (
    BaseSettings,
    FirstOrderSearch,
    HalvingSearch,
    PathsSearch,
    RandomSearch,
    SamplesSettings,
    ZeroOrderSearch,
)
from irgen.shards import ShardedOutput
from irgen.stages import samples
from tests.fakes import FakeDifferentiable, FakeVerifier

SEARCHES = [
    RandomSearch(candidates=3),
    ZeroOrderSearch(warm_start=1, neighbours=2, iterations=2),
    PathsSearch(paths=1, renoisings=2, length=2),
    FirstOrderSearch(warm_start=1, iterations=2),
    HalvingSearch(schedule=((4, 2), (2, 4))),
]


def finish(folder: Path, stage: str, settings: dict, inputs: dict, version: int = samples.VERSION) -> str:
    document = {"stage": stage, "version": version, "fingerprint": "0" * 16, "settings": settings, "inputs": inputs}
    store.write_manifest(folder, {**document, "figures": {}}, store.listing(folder))
    return store.ref(folder).content


def build(root: Path, search) -> Path:
    contents = {}
    for number, stage in ((4, "adapter"), (5, "verifier")):
        folder = root / f"{number:02d}-{stage}" / ("a" * 16)
        files.write_bytes(folder / "weights", stage.encode())
        contents[stage] = finish(folder, stage, {}, {})
    captions = root / "captions"
    captions.mkdir()
    rows = [
        Caption(
            f"f{i}",
            "train",
            f"scene {i}",
            forms.infrared(f"scene {i}"),
            forms.grayscale(f"scene {i}"),
            "rules",
            9,
            False,
        )
        for i in range(3)
    ]
    records.write_rows(captions / "captions.parquet", rows, Caption.SCHEMA)
    wanted = SamplesSettings(images=3, steps=4, search=search, batch_size=3, images_per_shard=2)
    folder = root / "06-samples" / ("b" * 16)
    tables = {"candidates": samples.CANDIDATES, "contrasts": samples.CONTRASTS}
    output = ShardedOutput.open(folder, run={}, items=3, per_shard=2, columns=samples.COLUMNS, tables=tables)
    plan = samples.plan(captions, wanted)
    for number in output.missing():
        with output.shard(number) as shard:
            of_shard = [plan[index] for index in output.items(number)]
            for one in samples.make(
                FakeDifferentiable(), FakeVerifier(), of_shard, wanted, {"base": "base", **contents}
            ):
                shard.add(one)
    output.finish()
    settings = {"samples": wanted.model_dump(mode="json"), "base": BaseSettings().model_dump(mode="json")}
    finish(folder, "samples", settings, contents)
    return root


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    from irgen import generators
    from irgen.verifiers import IrScore

    monkeypatch.setattr(weights, "identity_of", lambda base: "base")
    monkeypatch.setattr(generators, "load", lambda *_: FakeDifferentiable())
    monkeypatch.setattr(IrScore, "load", lambda folder: FakeVerifier())


@pytest.mark.parametrize("search", SEARCHES, ids=lambda one: one.algorithm)
def test_an_image_is_made_again_with_every_byte_the_same(tmp_path, search):
    build(tmp_path, search)
    for record in shards.read(next((tmp_path / "06-samples").iterdir())):
        made = regenerate.regenerate(tmp_path, record.key)
        assert made.same and "every byte the same" in made.message


def test_from_the_command_line_a_difference_is_exit_code_1(tmp_path, monkeypatch):
    build(tmp_path, SEARCHES[0])
    done = CliRunner().invoke(cli.app, ["regenerate", str(tmp_path), "1"])
    assert done.exit_code == 0 and "000000001" in done.output
    monkeypatch.setattr("irgen.generators.load", lambda *_: Other())
    done = CliRunner().invoke(cli.app, ["regenerate", str(tmp_path), "000000001"])
    assert done.exit_code == 1 and "DIFFERS" in done.output


class Other(FakeDifferentiable):
    def noised(self, *_):
        raise AssertionError("not of this recipe")

    def decode(self, latents):
        return 255 - super().decode(latents)


def test_what_cannot_be_found_is_named(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="no finished samples"):
        regenerate.regenerate(tmp_path, "1")
    build(tmp_path, SEARCHES[0])
    with pytest.raises(SettingsError, match="'x' is not a number"):
        regenerate.regenerate(tmp_path, "x")
    with pytest.raises(StoreError, match="has no image 000000099"):
        regenerate.regenerate(tmp_path, "99")
    monkeypatch.setattr(weights, "identity_of", lambda base: "other")
    with pytest.raises(WeightsError, match="not those that made 000000001"):
        regenerate.regenerate(tmp_path, "1")


def test_a_missing_or_damaged_adapter_is_named(tmp_path):
    build(tmp_path, SEARCHES[0])
    adapter = tmp_path / "04-adapter" / ("a" * 16)
    files.write_bytes(adapter / "weights", b"changed")
    with pytest.raises(StoreError, match="weights: "):
        regenerate.regenerate(tmp_path, "1")
    (adapter / store.MANIFEST).unlink()
    with pytest.raises(StoreError, match="the adapter that the image was made with is not there"):
        regenerate.regenerate(tmp_path, "1")


def test_shards_lead_to_the_samples_they_were_written_from(tmp_path):
    build(tmp_path, SEARCHES[0])
    content = store.ref(next((tmp_path / "06-samples").iterdir())).content
    folder = tmp_path / "08-shards" / ("c" * 16)
    files.write_bytes(folder / "README.md", b"card")
    finish(folder, "shards", {}, {"samples": content})
    assert regenerate.regenerate(folder, "2") == regenerate.regenerate(tmp_path, "2")


def test_samples_of_an_older_irgen_are_refused(tmp_path):
    build(tmp_path, SEARCHES[0])
    folder = next((tmp_path / "06-samples").iterdir())
    finish(folder, "samples", store.read_manifest(folder)["settings"], {}, version=1)
    with pytest.raises(StoreError, match="made by version 1 of stage samples"):
        regenerate.regenerate(tmp_path, "1")
