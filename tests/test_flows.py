"""The flows over fake stages, on a real (temporary) Prefect server."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import irgen
from irgen import pipeline, store
from irgen.errors import GateError, SettingsError, StoreError
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

    def build(self, **options: str) -> dict[str, pipeline.Outcome]:
        from flows.build_dataset import build_dataset

        fake_stages.CALLS.clear()
        return build_dataset(manifest=str(self.manifest), data=str(self.data), **options)

    def set(self, **sections: dict) -> None:
        self.manifest.write_text(yaml.safe_dump({"dataset": "tiny", "frames": {"source": "miniature"}, **sections}))


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
    summary = json.loads((empty.data / "tiny" / "summary.json").read_text())
    assert summary == {"dataset": made["shards"].ref.path, "images": 3}


def test_a_second_run_reuses_all(built: Dataset) -> None:
    outcomes = built.build()
    assert fake_stages.CALLS == []
    assert all(outcome.reused for outcome in outcomes.values())
    assert list(outcomes) == ALL


def test_a_changed_setting_redoes_its_stage_and_what_reads_it(built: Dataset) -> None:
    built.set(samples={"search": {"algorithm": "random", "candidates": 3}})
    built.build()
    assert fake_stages.CALLS == ["samples", "shards", "report"]
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


def test_a_stage_alone_takes_the_latest_output_of_what_it_reads(
    built: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    from flows import stages

    with caplog.at_level("INFO", "irgen.run"):
        outcome = stages.FLOWS["captions"](dataset="tiny", data=str(built.data))
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
        assert parameters == {"dataset", "data", "redo", *stage.sections, *stage.inputs}


def test_results_survive_the_round_trip_that_a_retry_makes(tmp_path: Path) -> None:
    from prefect.serializers import JSONSerializer

    ref = store.Ref(stage="frames", path=str(tmp_path), content="00")
    outcome = pipeline.Outcome(ref=ref, reused=True, seconds=1.5, figures={"boxes": {"person": 2}, "auc": None})
    assert JSONSerializer().loads(JSONSerializer().dumps({"frames": outcome})) == {"frames": outcome}


def test_a_stage_publishes_its_figures_and_pictures(built: Dataset) -> None:
    built.build()
    text = artifact("tiny-samples")
    assert "| auc.gray | 0.99 |" in text
    assert "](data:image/jpeg;base64," in text
    assert "09-report" in artifact("tiny-summary")
