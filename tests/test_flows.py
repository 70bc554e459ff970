"""The flows over fake stages, on a real (temporary) Prefect server."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import irgen
from irgen import files, hosts, lanes, pipeline, ranks, running, store
from irgen.errors import GateError, SettingsError, StoreError
from irgen.lane import Plan
from irgen.studies import running as study_running
from tests import fake_stages

pytestmark = pytest.mark.server

ALL = list(pipeline.NAMES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from prefect.settings import temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    # Without heartbeats: each flow would wait a second for their thread.
    quiet = {"home": home, "flows.heartbeat_frequency": None, "server.analytics_enabled": False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=120):
        yield


@dataclass
class Dataset:
    """A manifest and its data folder."""

    manifest: Path
    data: Path

    def build(self, **options: str | int) -> dict[str, pipeline.Outcome]:
        from flows.build_dataset import build_dataset

        fake_stages.CALLS.clear()
        return build_dataset(manifest=str(self.manifest), data=str(self.data), **options)

    def set(self, **sections: dict) -> None:
        changed = {name: {**fake_stages.MANIFEST.get(name, {}), **fields} for name, fields in sections.items()}
        self.manifest.write_text(yaml.safe_dump({**fake_stages.MANIFEST, **changed}))


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in fake_stages.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(irgen, "report", sys.modules["irgen.report"], raising=False)
    fake_stages.CALLS.clear()


@pytest.fixture
def empty(server: None, tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path / "tiny.yaml", tmp_path / "data")
    dataset.set()
    return dataset


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("master") / "data"


@pytest.fixture
def built(empty: Dataset, master: Path) -> Dataset:
    """A dataset that is built already: outputs do not depend on where they lie."""
    if not master.exists():
        Dataset(empty.manifest, master).build()
    shutil.copytree(master, empty.data)
    return empty


def artifact(key: str) -> str:
    from prefect.artifacts import Artifact

    found = Artifact.get(key)
    assert found is not None
    return found.data


def test_builds_all_stages_in_order_and_sums_up(empty: Dataset) -> None:
    made = empty.build()
    assert fake_stages.CALLS == list(made) == ALL
    assert not any(outcome.reused for outcome in made.values())
    summary = files.read_sealed(empty.data / "tiny" / "summary.json")
    assert summary == {"dataset": made["shards"].ref.path, "images": 3}


def test_a_second_run_reuses_all(built: Dataset) -> None:
    outcomes = built.build()
    assert fake_stages.CALLS == []
    assert all(outcome.reused for outcome in outcomes.values())
    assert list(outcomes) == ALL


def test_a_changed_setting_redoes_its_stage_and_what_reads_it(built: Dataset) -> None:
    built.set(samples={"search": {"algorithm": "random", "candidates": 3}})
    built.build()
    assert fake_stages.CALLS == ["samples", "labels", "shards", "report"]
    assert "samples.search.candidates: 12 -> 3" in artifact("tiny-plan")


def test_from_redoes_that_stage_and_all_after_it(built: Dataset) -> None:
    built.build(from_stage="shards")
    assert fake_stages.CALLS == ["shards", "report"]


def test_only_redoes_that_stage_alone_and_leaves_the_summary(built: Dataset) -> None:
    (built.data / "tiny" / "summary.json").unlink()
    outcomes = built.build(only="verifier")
    assert fake_stages.CALLS == list(outcomes) == ["verifier"]
    assert not (built.data / "tiny" / "summary.json").exists()


def test_only_refuses_while_an_input_is_not_made(empty: Dataset) -> None:
    with pytest.raises(StoreError, match="captions reads frames: not made yet"):
        empty.build(only="captions")
    assert fake_stages.CALLS == []


def test_from_and_only_exclude_each_other(empty: Dataset) -> None:
    with pytest.raises(SettingsError, match="exclude each other"):
        empty.build(only="captions", from_stage="frames")


def test_a_failing_stage_fails_the_flow_with_its_own_message_and_the_next_run_carries_on(
    built: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    built.set(shards={"description": "another"})
    monkeypatch.setenv("IRGEN_FAKE", "shards:gate")
    with pytest.raises(GateError, match=r"AUC against gray is 0\.71"):
        built.build()
    monkeypatch.delenv("IRGEN_FAKE")
    built.build()
    assert fake_stages.CALLS == ["shards", "report"]


def test_a_failing_stages_traceback_is_logged_once(
    built: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built.set(shards={"description": "another"})
    monkeypatch.setenv("IRGEN_FAKE", "shards:gate")
    with pytest.raises(GateError), caplog.at_level("ERROR", "prefect"):
        built.build()
    told = [record for record in caplog.records if "AUC against gray is 0.71" in record.getMessage()]
    # By the task, the stage's flow and the build.
    assert len(told) >= 3 and [bool(record.exc_info) for record in told] == [True] + [False] * (len(told) - 1)


def test_a_dataset_that_was_finished_is_an_event_and_one_that_was_finished_before_is_none(
    empty: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import events

    emitted = []
    monkeypatch.setattr(events, "emit_event", lambda event, **what: emitted.append((event, what)))
    made = empty.build()
    empty.build()
    empty.build(only="shards")
    ((event, what),) = emitted
    assert event == "irgen.dataset.finished"
    assert what["resource"] == {"prefect.resource.id": "irgen.dataset.tiny", "prefect.resource.name": "tiny"}
    payload = what["payload"]
    assert Path(payload["path"]).is_absolute() and Path(payload["path"]).samefile(made["shards"].ref.folder)
    assert payload["figures"] == {"dataset": made["shards"].ref.path, "images": 3}
    assert payload["content"] == made["shards"].ref.content and payload["report"].endswith("index.html")
    empty.build(from_stage="report")
    assert len(emitted) == 2


def test_a_stage_alone_takes_the_latest_output_of_what_it_reads(
    built: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    from flows import stages

    with caplog.at_level("INFO", "irgen.run"):
        outcome = stages.FLOWS["captions"](
            dataset="tiny", data=str(built.data), captions=fake_stages.MANIFEST["captions"]
        )
    assert outcome.reused
    frames = store.latest(built.data / "tiny" / "01-frames")
    assert frames is not None
    assert f"captions: reads the latest frames: {frames.path}" in caplog.text


def test_a_stage_alone_says_which_stage_must_run_first(empty: Dataset) -> None:
    from flows import stages

    with pytest.raises(StoreError, match=r"(?s)01-frames: holds no finished output for captions.*Run frames of tiny"):
        stages.FLOWS["captions"](dataset="tiny", data=str(empty.data))


def test_a_stage_refuses_a_damaged_input_that_it_is_given(built: Dataset) -> None:
    from flows import stages

    ref = store.latest(built.data / "tiny" / "01-frames")
    assert ref is not None
    (ref.folder / "settings.json").write_text("{}")
    with pytest.raises(StoreError, match="frames"):
        stages.FLOWS["captions"](dataset="tiny", data=str(built.data), frames=ref)


def test_every_stage_is_a_flow_whose_parameters_are_its_sections_and_inputs() -> None:
    from flows import stages

    assert list(stages.FLOWS) == ALL
    for stage in pipeline.STAGES:
        parameters = set(stages.FLOWS[stage.name].parameters.properties)
        own = {"samples": {"lanes", "executor"}, "adapter": {"ranks"}, "verifier": {"ranks"}}.get(stage.name, set())
        assert parameters == {"dataset", "data", "redo", *stage.sections, *stage.inputs, *own}


def test_the_form_says_what_each_field_means_and_may_be() -> None:
    from flows import stages
    from flows.build_dataset import build_dataset

    form = stages.FLOWS["samples"].parameters.model_dump()
    assert all("description" in field or "$ref" in field for field in form["properties"].values())
    assert form["properties"]["lanes"]["minimum"] == 0
    settings = form["definitions"]["SamplesSettings"]["properties"]
    assert settings["steps"]["minimum"] == 1 and settings["image_format"]["enum"] == ["png", "jpg"]
    assert {"$ref": "#/definitions/HalvingSearch"} in settings["search"]["anyOf"]
    stage = build_dataset.parameters.model_dump()["properties"]["from_stage"]["anyOf"][0]
    assert stage["enum"] == ALL


def test_lanes_are_asked_of_samples_alone_and_shown(built: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, bool]] = []

    def run(plan: Plan, count: int, listen: lanes.Listener, where: hosts.Hosts, anew: bool) -> None:
        asked.append((plan.stage, count, anew))
        state = lanes.LaneState(0, "GPU 3", True, 5, 2, 0.5, 812.0, 2)
        listen(lanes.Progress(5, 12, 0.5, 14.0, (state,)))
        listen(lanes.Progress(12, 12, 0.5, 0.0, (state,)))

    monkeypatch.setattr(lanes, "run", run)
    built.set(samples={"seed": 4})
    built.build(lanes=3)
    built.build(lanes=3, only="samples")
    assert asked == [("samples", 3, False), ("samples", 3, True)]
    assert "12 of 12 images, 0.50/s, 0 s left" in artifact("tiny-samples-lanes")
    assert "| 0 | GPU 3 | at work | 5 | 2 | 0.50 | 812 | 1 |" in artifact("tiny-samples-lanes")
    assert float(artifact("tiny-samples-progress")) == 100.0


def test_ranks_are_asked_of_what_is_trained_on_them(built: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, str]] = []
    monkeypatch.setattr(ranks, "run", lambda plan, count: asked.append((plan.stage, count, plan.out)))
    built.set(adapter={"seed": 4}, verifier={"seeds": [4]})
    made = built.build(ranks=3)
    assert asked == [(name, 3, made[name].ref.path) for name in ("adapter", "verifier")]
    assert store.read_cost(made["adapter"].ref.folder)["lanes"] == 3


def test_a_study_has_its_runs_made_by_as_many_processes(empty: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.studies import study

    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(lanes, "run", lambda plan, count, *_: asked.append((plan.stage, count)))
    monkeypatch.setattr(ranks, "run", lambda plan, count: asked.append((plan.stage, count)))
    monkeypatch.setattr(study_running, "write", lambda *_: empty.data / "page")
    path = empty.manifest.with_name("study.yaml")
    seeds = {"seeds": [4, 5, 6], "seeded": ["samples.seed"]}
    path.write_text(
        yaml.safe_dump({"study": "tiny", "question": "?", "base": "tiny.yaml", "variants": {"a": {}}, **seeds})
    )
    reports = study(manifest=str(path), data=str(empty.data), lanes=2, ranks=3)
    assert list(reports) == ["a, seed 4", "a, seed 5", "a, seed 6"]
    assert asked == [("adapter", 3), ("verifier", 3), *[("samples", 2)] * 3]


def test_a_second_build_with_other_settings_is_refused_while_one_runs(built: Dataset) -> None:
    from irgen.settings import load_manifest

    with running.claimed(built.data / "tiny", load_manifest(built.manifest)):
        built.build()
        built.set(samples={"seed": 9})
        with pytest.raises(running.RunningError, match=r"samples\.seed: 0 -> 9"):
            built.build()


def test_an_output_says_what_it_was_made_from(built: Dataset) -> None:
    built.build()
    assert "## Made from" in artifact("tiny-samples")
    assert all(f"| {name} | " in artifact("tiny-report") for name in ("frames", "captions", "samples", "shards"))


def test_a_report_is_shown_against_the_last_one() -> None:
    from tasks import artifacts

    before = {"fid": {"guided": 3.0, "grayscale": None}, "n": 4}
    now = pipeline.Outcome(
        ref=store.Ref(stage="report", path="", content=""),
        reused=False,
        seconds=1.0,
        figures={"fid": {"guided": 2.5, "grayscale": 8.0}, "irscore": {"real": 0.25}, "n": 4},
    )
    text = artifacts._moved(before, now)
    assert "| fid.guided | 3 | 2.5 | -0.5 |" in text
    assert "| fid.grayscale | None | 8 |  |" in text and "| irscore.real | None | 0.25 |  |" in text


def failed_at_shards(built: Dataset, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the state of a build that came as far as that."""
    from flows.build_dataset import build_dataset

    built.set(shards={"description": "another"})
    with monkeypatch.context() as broken:
        broken.setenv("IRGEN_FAKE", "shards:gate")
        failed = build_dataset(manifest=str(built.manifest), data=str(built.data), return_state=True)
    assert failed.is_failed()
    return failed


def retried(failed: Any, built: Dataset) -> dict[str, pipeline.Outcome]:
    """Do what *Retry* on a run's page does."""
    from prefect import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Scheduled

    from flows.build_dataset import build_dataset

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(failed.state_details.flow_run_id)
        client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
        run = client.read_flow_run(run.id)
    fake_stages.CALLS.clear()
    arguments = {"manifest": str(built.manifest), "data": str(built.data)}
    return run_flow(build_dataset, flow_run=run, parameters=arguments)


def test_a_retried_build_takes_the_results_of_what_was_done(built: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = failed_at_shards(built, monkeypatch)
    outcomes = retried(failed, built)
    assert fake_stages.CALLS == ["shards", "report"]
    assert list(outcomes) == ALL and all(isinstance(each, pipeline.Outcome) for each in outcomes.values())
    assert not outcomes["frames"].ref.folder.samefile(outcomes["shards"].ref.folder)


def test_a_stage_publishes_its_figures_and_pictures(built: Dataset) -> None:
    built.build()
    text = artifact("tiny-samples")
    assert "| auc.gray | 0.99 |" in text
    assert "](data:image/jpeg;base64," in text
    assert "09-report" in artifact("tiny-summary")


def test_a_retried_build_asks_again_where_the_manifest_was_changed(
    built: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failed_at_shards(built, monkeypatch)
    built.set(samples={"images": 7}, shards={"description": "another"})
    outcomes = retried(failed, built)
    assert fake_stages.CALLS == ["samples", "labels", "shards", "report"]
    assert store.read_manifest(outcomes["samples"].ref.folder)["settings"]["samples"]["images"] == 7
