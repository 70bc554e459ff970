"""Running a stage and planning a run, over fake stages."""

import os
import sys
from pathlib import Path

import pytest
import torch

from irgen import machine, pipeline, progress, store
from irgen.errors import StoreError
from irgen.settings import AdapterSettings, BaseSettings, FramesSettings, Manifest, VerifierSettings
from tests import fake_stages

FRAMES = pipeline.stage_named("frames")
MANIFEST = Manifest(dataset="tiny", frames=FramesSettings(source="miniature"))
SECTIONS = {"frames": MANIFEST.frames}


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in fake_stages.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    fake_stages.CALLS.clear()


def test_a_finished_stage_is_reused_and_redone_only_when_asked(tmp_path: Path) -> None:
    first = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {})
    assert pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).reused
    assert fake_stages.CALLS == ["frames"]
    again = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}, redo=True)
    assert not again.reused
    assert again.ref == first.ref
    assert fake_stages.CALLS == ["frames", "frames"]


def test_a_redo_leaves_nothing_of_the_earlier_output(tmp_path: Path) -> None:
    folder = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).ref.folder
    (folder / "stray").touch()
    pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}, redo=True)
    assert not (folder / "stray").exists()


def test_a_redo_of_an_interrupted_run_does_not_carry_it_on(tmp_path: Path) -> None:
    folder = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).ref.folder
    (folder / store.MANIFEST).rename(folder / "half-done")
    pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}, redo=True)
    assert not (folder / "half-done").exists()


def test_a_damaged_output_is_redone(tmp_path: Path) -> None:
    folder = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).ref.folder
    (folder / "settings.json").write_text("{}")
    assert not pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).reused
    assert store.problems(folder) == []


def damaged_in_silence(folder: Path) -> Path:
    """Change a file, neither its size nor its time."""
    path = folder / "settings.json"
    before_ns = (folder / store.MANIFEST).stat().st_mtime_ns - 10**9
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(before_ns, before_ns))
    return path


def test_a_plan_reads_no_file_that_is_older_than_its_manifest_but_the_run_does(tmp_path: Path) -> None:
    root = pipeline.dataset_root(tmp_path, "tiny")
    folder = pipeline.run_stage(FRAMES, root, SECTIONS, {}).ref.folder
    damaged_in_silence(folder)
    assert pipeline.plan(MANIFEST, tmp_path)[0].action == "reuse"
    assert not pipeline.run_stage(FRAMES, root, SECTIONS, {}).reused
    assert store.problems(folder) == []


def test_an_input_damaged_since_it_was_planned_is_refused(tmp_path: Path) -> None:
    root = pipeline.dataset_root(tmp_path, "tiny")
    frames = pipeline.run_stage(FRAMES, root, SECTIONS, {}).ref
    damaged_in_silence(frames.folder)
    with pytest.raises(StoreError, match="contents changed"):
        pipeline.run_stage(pipeline.stage_named("captions"), root, {"captions": MANIFEST.captions}, {"frames": frames})


def test_a_plan_sees_a_file_that_was_written_after_its_manifest(tmp_path: Path) -> None:
    folder = pipeline.run_stage(FRAMES, pipeline.dataset_root(tmp_path, "tiny"), SECTIONS, {}).ref.folder
    path = folder / "settings.json"
    path.write_bytes(path.read_bytes().swapcase())
    line = pipeline.plan(MANIFEST, tmp_path)[0]
    assert line.action == "redo" and "contents changed" in line.reason


def test_a_stage_leaves_no_gpu_memory_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {})
    assert done == ["emptied"]


def test_an_input_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    captions = pipeline.stage_named("captions")
    frames = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).ref
    sections = {"captions": MANIFEST.captions}
    made = pipeline.run_stage(captions, tmp_path, sections, {"frames": frames}).ref
    for wrong in (frames.model_copy(update={"content": "0" * 64}), made):
        with pytest.raises(StoreError, match="not the output of frames that is asked for"):
            pipeline.run_stage(captions, tmp_path, sections, {"frames": wrong})


def test_what_was_used_last_is_the_latest(tmp_path: Path) -> None:
    first = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).ref
    other = FramesSettings(source="miniature", val_fraction=0.2)
    second = pipeline.run_stage(FRAMES, tmp_path, {"frames": other}, {}).ref
    os.utime(first.folder / store.MANIFEST, ns=(0, 1))
    assert store.latest(first.folder.parent) == second
    os.utime(second.folder / store.MANIFEST, ns=(0, 2))
    pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {})
    assert store.latest(first.folder.parent) == first


def test_a_cost_tells_the_parts_of_the_work_and_whether_it_was_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = FRAMES.module()

    def run(out: Path, frames: FramesSettings) -> dict[str, int]:
        with progress.bar("scenes", 3) as advance:
            advance(3)
        if not (out / "half").exists():
            (out / "half").touch()
            raise StoreError("interrupted", "")
        return {}

    monkeypatch.setattr(module, "run", run)
    with pytest.raises(StoreError, match="interrupted"):
        pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {})
    folder = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}).ref.folder
    cost = store.read_cost(folder)
    assert cost["resumed"] and cost["parts"]["scenes"]["count"] == 3
    assert cost["seconds"] > 0 and cost["cpu_seconds"] > 0
    assert {name: cost[name] for name in ("host", "gpus")} == machine.here()


def test_work_begun_anew_was_not_resumed(tmp_path: Path) -> None:
    for redo in (False, True):
        folder = pipeline.run_stage(FRAMES, tmp_path, SECTIONS, {}, redo=redo).ref.folder
        assert not store.read_cost(folder)["resumed"]


def test_the_plan_of_a_forced_redo_says_so_and_redoes_what_reads_it(tmp_path: Path) -> None:
    root = pipeline.dataset_root(tmp_path, "tiny")
    frames = pipeline.run_stage(FRAMES, root, SECTIONS, {}).ref
    pipeline.run_stage(pipeline.stage_named("captions"), root, {"captions": MANIFEST.captions}, {"frames": frames})
    actions = {line.stage: (line.action, line.reason) for line in pipeline.plan(MANIFEST, tmp_path)}
    assert actions["frames"][0] == actions["captions"][0] == "reuse"
    forced = {line.stage: (line.action, line.reason) for line in pipeline.plan(MANIFEST, tmp_path, redo=("frames",))}
    assert forced["frames"] == ("redo", "asked for")
    assert forced["captions"] == ("redo", "reads frames, to be made first")


def refs(root: Path, manifest: Manifest) -> dict[str, store.Ref]:
    """Make all stages up to the verifier."""
    made: dict[str, store.Ref] = {}
    for stage in pipeline.STAGES[: pipeline.NAMES.index("verifier") + 1]:
        sections = {name: getattr(manifest, name) for name in stage.sections}
        made[stage.name] = pipeline.run_stage(stage, root, sections, made).ref
    return made


def test_without_own_samples_another_adapter_leaves_the_verifier_as_it_is(tmp_path: Path) -> None:
    refs(pipeline.dataset_root(tmp_path, "tiny"), MANIFEST)
    trained_longer = MANIFEST.model_copy(update={"adapter": AdapterSettings(steps=7)})
    other_size = trained_longer.model_copy(update={"base": BaseSettings(height_px=256)})
    for changed in (trained_longer, other_size):
        actions = {line.stage: line.action for line in pipeline.plan(changed, tmp_path)}
        assert (actions["adapter"], actions["verifier"]) == ("redo", "reuse")


def test_own_samples_make_the_verifier_depend_on_the_adapter(tmp_path: Path) -> None:
    own = MANIFEST.model_copy(update={"verifier": VerifierSettings(own_samples=4)})
    root = pipeline.dataset_root(tmp_path, "tiny")
    made = refs(root, own)
    assert "adapter" in store.read_manifest(made["verifier"].folder)["inputs"]
    trained_longer = own.model_copy(update={"adapter": AdapterSettings(steps=7)})
    lines = {line.stage: line for line in pipeline.plan(trained_longer, tmp_path)}
    assert lines["verifier"].reason == "reads adapter, to be made first"
    smaller = own.model_copy(update={"base": BaseSettings(height_px=256)})
    sections = {"verifier": smaller.verifier, "base": smaller.base}
    assert not pipeline.run_stage(pipeline.stage_named("verifier"), root, sections, made).reused


def test_every_stage_reads_only_what_is_made_before_it() -> None:
    for place, stage in enumerate(pipeline.STAGES):
        assert set(stage.inputs) <= set(pipeline.NAMES[:place])
    numbers = [stage.number for stage in pipeline.STAGES]
    assert numbers == sorted(numbers)
    assert len({stage.folder_name for stage in pipeline.STAGES}) == len(pipeline.STAGES)


def test_a_folder_of_ones_choice_is_reused_and_replaced_when_settings_change(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not pipeline.run_in(out, FRAMES, SECTIONS, {}).reused
    assert pipeline.run_in(out, FRAMES, SECTIONS, {}).reused
    other = {"frames": FramesSettings(source="folder", root="elsewhere")}
    assert not pipeline.run_in(out, FRAMES, other, {}).reused
    assert "elsewhere" in (out / "settings.json").read_text()


@pytest.mark.parametrize("name", ["holiday.jpg", "manifest.json"])
def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(StoreError, match="holds files of something else"):
        pipeline.run_in(tmp_path, FRAMES, SECTIONS, {})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert fake_stages.CALLS == []
