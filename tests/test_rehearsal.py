"""A little of everything, made to know what everything takes."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from irgen import amounts, costs, pipeline, rehearsal, settings
from irgen.settings import Manifest, RandomSearch
from tests import fake_stages

MANIFEST = Manifest.model_validate(
    {"dataset": "tiny", "frames": {"source": "miniature"}, "base": {"model": "miniature"}}
)
IN_ORDER = (
    "frames",
    "captions",
    "negatives",
    "teachers",
    "adapter",
    "verifier",
    "samples",
    "samples",
    "labels",
    "shards",
    "report",
)


def counting(module: ModuleType) -> ModuleType:
    """Have a fake stage say how many images it made, as the real ones do."""
    run = module.run
    vars(module)["run"] = lambda **arguments: {**run(**arguments), "images": 3}
    return module


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "irgen" / "rehearsals"


@pytest.fixture
def _fakes(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    for name, module in fake_stages.modules().items():
        monkeypatch.setitem(sys.modules, name, counting(module) if name.startswith("irgen.stages") else module)
    fake_stages.CALLS.clear()


def changed(section: str, **fields: Any) -> Manifest:
    document = MANIFEST.model_dump()
    document[section] |= fields
    return Manifest.model_validate(document)


def rehearse(manifest: Manifest, data: Path) -> dict[str, costs.Measured]:
    return rehearsal.rehearse(manifest, data, pipeline.plan(manifest, data))


@pytest.mark.usefixtures("_fakes")
def test_every_stage_is_rehearsed_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    found = rehearse(MANIFEST, tmp_path / "data")
    assert tuple(found) == pipeline.NAMES
    assert tuple(fake_stages.CALLS) == IN_ORDER
    assert list((tmp_path / "scratch").iterdir()) == [] and not (tmp_path / "data").exists()
    estimates = costs.estimate(MANIFEST, tmp_path, pipeline.plan(MANIFEST, tmp_path), found)
    assert costs.total(estimates.values()).seconds > 0
    assert {one.source for one in estimates.values()} == {"rehearsal"}


@pytest.mark.usefixtures("_fakes")
def test_a_rehearsal_is_kept_for_manifests_that_differ_in_amounts(tmp_path: Path, cache: Path) -> None:
    assert rehearsal.kept(MANIFEST) == {}
    found = rehearse(MANIFEST, tmp_path)
    assert rehearsal.kept(MANIFEST) == found
    assert rehearsal.kept(changed("samples", images=10**6, search=MANIFEST.samples.search)) == found
    assert rehearsal.kept(MANIFEST.model_copy(update={"dataset": "other"})) == found
    assert rehearsal.kept(changed("samples", batch_size=7)) == {}
    assert rehearsal.kept(changed("base", width_px=640 - 16)) == {}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize("change", ["machine", "version"])
def test_a_rehearsal_of_another_machine_or_code_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    found = rehearse(MANIFEST, tmp_path)
    if change == "machine":
        monkeypatch.setattr("irgen.machine.gpus", lambda: ["H200"])
        assert rehearsal.kept(MANIFEST) == {}
    else:
        monkeypatch.setattr(sys.modules["irgen.stages.samples"], "VERSION", 2)
        assert found.keys() - rehearsal.kept(MANIFEST).keys() == {"samples"}


@pytest.mark.usefixtures("_fakes")
def test_a_damaged_record_is_said_and_made_anew(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    rehearse(MANIFEST, tmp_path)
    path = next(cache.iterdir())
    path.write_bytes(path.read_bytes().replace(b"seconds", b"Seconds"))
    assert rehearsal.kept(MANIFEST) == {}
    assert f"{path}: damaged" in caplog.text
    assert rehearsal.kept(MANIFEST) == {} != rehearse(MANIFEST, tmp_path) == rehearsal.kept(MANIFEST)


@pytest.mark.usefixtures("_fakes")
def test_models_that_are_there_are_used_and_what_was_known_of_them_stays(tmp_path: Path) -> None:
    known = rehearse(MANIFEST, tmp_path)
    refs: dict[str, Any] = {}
    for stage in pipeline.STAGES[: pipeline.NAMES.index("verifier") + 1]:
        sections = {name: getattr(MANIFEST, name) for name in stage.sections}
        refs[stage.name] = pipeline.run_stage(stage, tmp_path / "tiny", sections, refs).ref
    fake_stages.CALLS.clear()
    found = rehearse(MANIFEST, tmp_path)
    assert not set(rehearsal.MODELS) & set(fake_stages.CALLS) and len(fake_stages.CALLS) == len(IN_ORDER) - 3
    assert found["adapter"] == known["adapter"] and found["samples"] != known["samples"]


@pytest.mark.usefixtures("_fakes")
def test_real_frames_are_read_once(tmp_path: Path) -> None:
    real = changed("frames", source="kaist", root=str(tmp_path))
    assert rehearsal.reduced(real).frames == real.frames
    frames = pipeline.stage_named("frames")
    rehearse(real, tmp_path)
    assert fake_stages.CALLS.count("frames") == 1
    pipeline.run_stage(frames, tmp_path / "tiny", {"frames": real.frames}, {})
    rehearse(real, tmp_path)
    assert fake_stages.CALLS.count("frames") == 2


@pytest.mark.parametrize("name", ["miniature", "kaist-flux", "roadscene-mini"])
def test_a_rehearsal_is_like_the_run_but_smaller(name: str, repository: Path) -> None:
    manifest = settings.load_manifest(repository / "manifests" / f"{name}.yaml")
    small = rehearsal.reduced(manifest)
    for stage, work in amounts.WORK.items():
        assert work.like(small) == work.like(manifest), stage
        if stage in ("captions", "negatives", *rehearsal.MODELS, "samples"):
            assert work.amount(small) <= 0.4 * work.amount(manifest), stage
    assert small.samples.images == 3 * manifest.samples.prompts_at_once
    assert small.samples.search == manifest.samples.search


def test_held_out_frames_are_judged_as_often_a_step() -> None:
    def judged(manifest: Manifest) -> float:
        return amounts.captioned(manifest)["val"] / manifest.verifier.validate_every

    assert judged(rehearsal.reduced(MANIFEST)) == pytest.approx(judged(MANIFEST), rel=0.35)


def test_a_rehearsal_of_a_tiny_manifest_is_no_larger_than_it() -> None:
    tiny = changed("captions", train_frames=5, val_frames=4, test_frames=3)
    assert rehearsal.reduced(tiny).captions == tiny.captions
    assert rehearsal.reduced(changed("adapter", steps=3)).adapter.steps == 3


def test_what_must_be_measured_first_is_rehearsed_small() -> None:
    members = [{"verifier": {"name": name}} for name in ("irscore", "realism")]
    asked = changed(
        "samples",
        search={"algorithm": "calibrated", "nfe": 336},
        guide={"name": "ensemble", "members": members},
        mix={"night": 0.9},
    )
    small = rehearsal.reduced(asked).samples
    assert small.search == RandomSearch(candidates=12)
    assert (small.guide.prompts, small.guide.candidates, small.mix) == (2, 2, {})


def test_only_the_gate_is_open() -> None:
    gate = rehearsal.reduced(MANIFEST).verifier.bar
    assert set(gate.model_dump().values()) == {0.0}


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_the_miniature_is_rehearsed(repository: Path, tmp_path: Path) -> None:
    document = yaml.safe_load((repository / "manifests" / "miniature.yaml").read_text())
    document["samples"]["search"] = {"algorithm": "random", "candidates": 2}
    manifest = Manifest.model_validate(document)
    found = rehearse(manifest, tmp_path)
    assert tuple(found) == pipeline.NAMES
    assert {"adapter: encode", "adapter: train"} == set(found["adapter"].cost["parts"])
    estimates = costs.estimate(manifest, tmp_path, pipeline.plan(manifest, tmp_path), found)
    assert all(one.seconds > 0 and one.bytes > 0 for one in estimates.values())
