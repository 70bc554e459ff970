"""Processes that train together, over a training of a few lines."""

import contextlib
import os
import sys
from pathlib import Path

import psutil
import pytest

from irgen import files, hosts, progress, ranks
from irgen.errors import GateError, SettingsError
from irgen.lane import Plan
from irgen.settings import AdapterSettings
from tests.fake_ranks import STEPS
from tests.test_lanes import until


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "COMMAND", (sys.executable, "-m", "tests.fake_ranks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def plan(out: Path) -> Plan:
    settings = AdapterSettings(steps=STEPS).model_dump(mode="json")
    return Plan(stage="adapter", sections={"adapter": settings}, inputs={}, out=str(out), parent=os.getpid())


def begun(out: Path) -> set[str]:
    """What the processes have been told about where they meet, one text each."""
    return {path.read_text() for path in (out / files.TMP).glob("begun-*")}


def rank_processes() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "tests.fake_ranks" in " ".join(each.cmdline()):
                found.append(each)
    return found


def test_bars_of_the_first_are_shown_and_recorded_and_all_meet_at_one_place(tmp_path: Path) -> None:
    with progress.recorded() as parts:
        ranks.run(plan(tmp_path), 3)
    assert {name: part.count for name, part in parts.items()} == {"encode": 0, "train": STEPS}
    assert len(list((tmp_path / files.TMP).glob("begun-*"))) == 3 and len(begun(tmp_path)) == 1
    assert not rank_processes()


def test_a_death_ends_all_and_every_ones_last_words_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_RANK", "die")
    monkeypatch.setattr(ranks, "LAST_WORDS_S", 60.0)
    said = r"2 processes ended early \(rank 0: RuntimeError: connection closed by peer; rank 1: exit code -9\)"
    with pytest.raises(ranks.RankError, match=f"(?s){said}.*run the same again"):
        ranks.run(plan(tmp_path), 2)
    assert not rank_processes()


def test_what_the_training_refuses_is_said_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_RANK", "refuse")
    with pytest.raises(GateError, match=r"(?s)not finite at step 0.*Lower verifier.learning_rate"):
        ranks.run(plan(tmp_path), 2)


def test_one_that_says_nothing_is_ended_with_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_RANK", "mute")
    monkeypatch.setattr(hosts, "SILENT_S", 0.2)
    monkeypatch.setattr(ranks, "LAST_WORDS_S", 0.1)
    with pytest.raises(ranks.RankError, match=r"rank 0: silent for 0 s; rank 1: silent for"):
        ranks.run(plan(tmp_path), 2)
    assert not rank_processes()


def test_an_interruption_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRGEN_FAKE_RANK", "wait")

    def interrupt(watch: ranks._Watch, timeout_s: float) -> None:
        until(lambda: len(list((tmp_path / files.TMP).glob("begun-*"))) == 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(ranks._Watch, "_take", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ranks.run(plan(tmp_path), 2)
    assert not rank_processes()


def test_more_processes_than_gpus_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "gpus", lambda: ["0", "1"])
    with pytest.raises(SettingsError, match="ranks = 3, but there are 2 GPUs"):
        ranks.run(plan(tmp_path), 3)
