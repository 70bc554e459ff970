"""Killed, out of disk or in company: what is there is sound, and the end is the same."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from irgen import files, shards
from tests.shards.outputs import contents, fill, tars

pytestmark = pytest.mark.faults
SMALL = {"items": 5, "per_shard": 3}
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}
GROWS = {"os.mkdir", "os.link"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    fill(folder, **SMALL)
    return contents(folder)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def run_until(operation: int, folder: Path, then) -> bool:
    """Fill a folder in a child of this process, in which from some file operation on something happens.

    Returns:
        Whether it came so far.
    """

    def disturb() -> None:
        # An audit hook sees every file operation of the interpreter, and stays: hence the child.
        seen = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal seen
            if event not in OPERATIONS or str(folder) not in str(arguments[0]):
                return
            seen += 1
            writes = event in GROWS or (event == "open" and arguments[1] not in ("r", "rb") and bool(arguments[2] & 3))
            if seen >= operation and (then is crash or writes):
                then()

        sys.addaudithook(hook)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking while other tests' threads sleep
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        disturb()
        code = 0
        try:
            fill(folder, **SMALL)
        except OSError as error:
            code = 3 if error.errno == errno.ENOSPC else 4
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) in (0, 3)
        return os.WEXITSTATUS(status) == 3
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True


def committed_files(folder: Path) -> set[str]:
    records = [files.read_sealed(path) for path in (folder / "commit").glob("*.json")]
    return {part["path"] for record in records for part in record["parts"].values()}


@pytest.mark.parametrize("then", [crash, disk_full])
def test_disturbed_at_any_file_operation_it_carries_on_to_the_same_bytes(tmp_path, undisturbed, then):
    operation = 1
    while True:
        folder = tmp_path / str(operation)
        if not run_until(operation, folder, then):
            break
        if (folder / "run.json").exists():
            # What is visible is whole: readers take it, and only "not finished" is told.
            list(shards.read(folder))
            assert shards.verify(folder) == []
            assert committed_files(folder) <= set(contents(folder))
        if then is disk_full:
            assert {f"shards/{path.name}" for path in tars(folder)} <= committed_files(folder)
            assert not any("_tmp" in name and not name.endswith(".lock") for name in contents(folder))
        fill(folder, **SMALL)
        left = contents(folder)
        # The manifest's scratch is its writer's: the stage removes it, which this filling is not.
        assert {name: left[name] for name in left if not name.startswith("_tmp/manifest")} == undisturbed
        operation += 7 if operation > 12 else 1
    assert operation > 60


def filler(folder: Path, pause_s: float) -> subprocess.Popen:
    code = f"from tests.shards.outputs import Path, fill; fill(Path({str(folder)!r}), pause_s={pause_s})"
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


def test_killed_at_random_moments_the_bytes_are_those_of_an_undisturbed_run(tmp_path, pristine):
    chance = random.Random(0)
    for _ in range(4):
        process = filler(tmp_path / "killed", 0.02)
        for _ in range(chance.randint(1, 4)):
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    fill(tmp_path / "killed")
    left = contents(tmp_path / "killed")
    assert {name: left[name] for name in left if not name.startswith("_tmp/manifest")} == contents(pristine)


def test_two_writers_at_once_make_each_shard_once(tmp_path, pristine):
    processes = [filler(tmp_path / "shared", 0.1) for _ in range(2)]
    said = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(said) == len(set(said)) == 11
    assert contents(tmp_path / "shared") == contents(pristine)


def test_a_disk_that_fills_up_while_flushing_leaves_nothing_under_a_final_name(tmp_path, pristine, monkeypatch):
    flush = files.fsync
    for allowed in range(0, 40, 3):
        left = allowed

        def full(path: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                disk_full()
            flush(path)

        folder = tmp_path / str(allowed)
        with monkeypatch.context() as patch:
            patch.setattr(files, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                fill(folder)
        assert not (folder / "manifest.json").exists()
        assert committed_files(folder) <= set(contents(folder))
        fill(folder)
        assert contents(folder) == contents(pristine)
