import subprocess
import sys
from pathlib import Path

import pytest

from irgen import running, store
from irgen.settings import FramesSettings, Manifest, SamplesSettings

HOLD = """
import pathlib, sys
from irgen import running
from irgen.settings import Manifest
with running.claimed(pathlib.Path(sys.argv[1]), Manifest.model_validate_json(sys.argv[2])):
    print("claimed", flush=True)
    input()
"""


def manifest(seed: int = 0) -> Manifest:
    return Manifest(
        dataset="tiny", frames=FramesSettings(source="miniature"), samples=SamplesSettings(seed=seed, images=3)
    )


@pytest.fixture
def other(tmp_path: Path):
    """Another process that builds the dataset."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), manifest().model_dump_json()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "claimed\n"
    yield process
    process.kill()
    process.wait()


def test_runs_with_the_same_settings_share_a_dataset(tmp_path: Path, other: subprocess.Popen) -> None:
    with running.claimed(tmp_path, manifest()), running.claimed(tmp_path, manifest()):
        assert other.poll() is None


def test_a_run_with_other_settings_is_refused_with_the_difference(tmp_path: Path, other: subprocess.Popen) -> None:
    message = r"at work there \(samples.seed: 0 -> 5\)"
    with pytest.raises(running.RunningError, match=message), running.claimed(tmp_path, manifest(seed=5)):
        pass


def test_a_killed_run_lets_go(tmp_path: Path, other: subprocess.Popen) -> None:
    assert running.at_work(tmp_path)
    other.kill()
    other.wait()
    assert not running.at_work(tmp_path)
    with running.claimed(tmp_path, manifest(seed=5)):
        assert running.at_work(tmp_path)


def test_the_last_of_several_lets_go(tmp_path: Path, other: subprocess.Popen) -> None:
    with running.claimed(tmp_path, manifest()):
        other.kill()
        other.wait()
        with pytest.raises(running.RunningError), running.claimed(tmp_path, manifest(seed=5)):
            pass
    with running.claimed(tmp_path, manifest(seed=5)):
        pass


def test_a_dataset_is_at_work_while_somebody_builds_it_or_makes_an_output(
    tmp_path: Path, other: subprocess.Popen
) -> None:
    assert running.at_work(tmp_path)
    other.kill()
    other.wait()
    assert not running.at_work(tmp_path)
    with store.exclusive(tmp_path / "06-samples" / "ab"):
        assert running.at_work(tmp_path)
    assert not running.at_work(tmp_path) and not running.at_work(tmp_path / "absent")
