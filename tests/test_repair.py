import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from irgen import cli, files, pipeline, shards, store
from irgen.repair import repair
from tests.faults import small


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "tiny"
    small.build(root)
    return root


@pytest.fixture
def dataset(pristine, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "STAGES", (small.FRAMES, small.SAMPLES))
    with small.stages():
        yield Path(shutil.copytree(pristine, tmp_path / "tiny"))


def one(dataset: Path, pattern: str) -> Path:
    return sorted(dataset.glob(pattern))[0]


def test_a_sound_dataset_is_left_alone(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    assert repair(dataset) == []
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


@pytest.mark.parametrize(
    "pattern",
    [
        "06-*/*/shards/000001*",
        "06-*/*/meta/000000*",
        "06-*/*/commit/000001*",
        "06-*/*/run.json",
        "01-*/*/frames.parquet",
    ],
)
@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_what_is_damaged_is_made_again_with_its_bytes_and_nothing_else_is(dataset, pristine, pattern, how):
    path = one(dataset, pattern)
    others = {
        each: each.stat().st_mtime_ns for each in dataset.glob("06-*/*/shards/*") if each.name[:6] != path.name[:6]
    }
    data = path.read_bytes()
    path.write_bytes(b"x" + data[1:] if how == "changed" else data[:-1])
    if how == "missing":
        path.unlink()
    done = repair(dataset)
    assert [(each.mended, each.path) for each in done] == [
        (True, str(dataset / Path(*path.relative_to(dataset).parts[:2])))
    ]
    assert small.contents(dataset) == small.contents(pristine)
    if "shards" in pattern:
        assert {each: each.stat().st_mtime_ns for each in others} == others


def test_a_file_that_does_not_belong_there_goes(dataset, pristine):
    files.write_bytes(one(dataset, "01-*/*/manifest.json").parent / "extra.parquet", b"x")
    assert [each.mended for each in repair(dataset)] == [True]
    assert small.contents(dataset) == small.contents(pristine)


def test_where_an_input_is_gone_it_says_so_and_touches_nothing(dataset):
    os.truncate(one(dataset, "06-*/*/shards/*.tar"), 100)
    shutil.rmtree(one(dataset, "01-*"))
    before = small.contents(dataset)
    done = repair(dataset)
    assert [each.mended for each in done] == [False] and "the frames it was made of is not there" in done[0].why_not
    assert small.contents(dataset) == before


def test_a_damaged_manifest_or_summary_is_left_to_a_run(dataset):
    for path in (one(dataset, "06-*/*/manifest.json"), dataset / "summary.json"):
        path.write_bytes(path.read_bytes()[:-3] + b"x}\n")
    done = repair(dataset)
    assert [each.mended for each in done] == [False, False]
    assert all("irgen run" in each.why_not for each in done)


def test_another_version_of_the_stage_does_not_pass_for_the_same(dataset, monkeypatch):
    os.truncate(one(dataset, "06-*/*/shards/*.tar"), 100)
    monkeypatch.setattr(small.SAMPLES.module(), "VERSION", 2)
    assert "version 1, this irgen has 2" in repair(dataset)[0].why_not


def test_what_comes_out_otherwise_is_told(dataset, monkeypatch):
    path = one(dataset, "01-*/*/frames.parquet")
    os.truncate(path, 100)
    monkeypatch.setattr(
        small.FRAMES.module(), "run", lambda frames, out: files.write_json(out / "frames.parquet", {}) or {}
    )
    assert "not with the bytes it had" in repair(path.parent)[0].why_not


def test_what_was_trained_is_replaced_only_by_the_same(dataset, pristine, monkeypatch):
    monkeypatch.setattr("irgen.repair.TRAINED", ("frames",))
    path = one(dataset, "01-*/*/frames.parquet")
    os.truncate(path, 100)
    with monkeypatch.context() as another:
        run = small.FRAMES.module().run
        another.setattr(
            small.FRAMES.module(), "run", lambda frames, out: files.write_json(out / "frames.parquet", {}) or {}
        )
        assert "left as it is" in repair(path.parent)[0].why_not
    assert small.FRAMES.module().run is run and path.stat().st_size == 100
    assert [each.mended for each in repair(path.parent)] == [True]
    assert path.read_bytes() == (pristine / path.relative_to(dataset)).read_bytes()
    assert shards.verify(dataset) == [] and not list((dataset / "_tmp").glob("repair-*"))


def test_the_command_says_what_it_did(dataset):
    os.truncate(one(dataset, "06-*/*/shards/*.tar"), 100)
    done = CliRunner().invoke(cli.app, ["repair", str(dataset), "--json"])
    assert done.exit_code == 0 and '"mended": true' in done.stdout
    assert shards.verify(dataset) == []
    assert "nothing to do" in CliRunner().invoke(cli.app, ["repair", str(dataset)]).stdout


def test_costs_are_not_invented(dataset):
    folder = one(dataset, "06-*/*/manifest.json").parent
    (folder / store.COST).write_bytes(b"{}")
    assert "cannot be measured again" in repair(dataset)[0].why_not
