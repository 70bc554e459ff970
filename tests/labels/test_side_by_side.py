import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from irgen import lane
from irgen.errors import SettingsError, WeightsError
from irgen.labels import detectors, examples, side_by_side
from irgen.labels.side_by_side import OTHER, Plan, TrainingError
from irgen.settings import DetectorSettings, TeachersSettings
from tests.labels.making import HEIGHT_PX, WIDTH_PX, frames_output

SIZE_PX = (WIDTH_PX, HEIGHT_PX)
FEW = TeachersSettings(
    detectors=[
        DetectorSettings(architecture=one, channels=32, steps=2, batch_size=2) for one in ("fcos", "faster_rcnn")
    ]
)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return frames_output(tmp_path / "frames")


def trained(frames: Path, scratch: Path, teachers: TeachersSettings = FEW):
    learnt = examples.read(frames, "train", 100, teachers.classes, SIZE_PX, 0)
    return side_by_side.train(frames, SIZE_PX, learnt, teachers, scratch)


def test_side_by_side_they_learn_to_the_last_bit_what_they_learn_one_after_the_other(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    before = torch.get_num_threads()
    pair = trained(frames, tmp_path)
    assert torch.get_num_threads() == before
    learnt = examples.read(frames, "train", 100, FEW.classes, SIZE_PX, 0)
    for number, settings in enumerate(FEW.detectors):
        alone = detectors.train(learnt.lwir_u8, learnt.boxes, settings)
        written = []
        for name, one in (("alone", alone), ("beside", pair[number])):
            one.save(tmp_path / name)
            written.append((tmp_path / name / detectors.WEIGHTS).read_bytes())
        assert written[0] == written[1]


def say(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have the other process run a few lines; `tell` writes a message, `plan` is what it was given."""
    head = (
        "import json, os, pathlib, signal, sys, time\n"
        "plan = json.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "tell = lambda **message: print(json.dumps(message), flush=True)\n"
    )
    monkeypatch.setattr(side_by_side, "COMMAND", (sys.executable, "-c", head + code))


def test_what_the_other_finds_wrong_is_said_in_its_own_words(frames, tmp_path: Path, monkeypatch) -> None:
    say(
        monkeypatch,
        "tell(kind='steps', count=1); tell(kind='refused', error='WeightsError', what='not finite at step 3', fix='')",
    )
    with pytest.raises(WeightsError, match="not finite at step 3"):
        trained(frames, tmp_path)


def test_a_process_that_is_killed_is_named_with_its_end(frames, tmp_path: Path, monkeypatch) -> None:
    say(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(TrainingError, match=r"(?s)teacher: faster_rcnn: its process ended \(exit code -9\).*memory"):
        trained(frames, tmp_path)


def test_an_error_that_nobody_foresaw_is_named(frames, tmp_path: Path, monkeypatch) -> None:
    say(monkeypatch, "tell(kind='failed', text='TypeError: unsupported operand'); sys.exit(1)")
    with pytest.raises(TrainingError, match="TypeError: unsupported operand"):
        trained(frames, tmp_path)


def test_where_this_one_fails_the_other_does_not_live_on(frames, tmp_path: Path, monkeypatch) -> None:
    say(monkeypatch, "pathlib.Path(plan['out'] + '.pid').write_text(str(os.getpid())); time.sleep(600)")
    pid = tmp_path / f"{OTHER}.pid"

    def fail(*arguments, **named):
        until(lambda: pid.exists() and bool(pid.read_text()))
        raise SettingsError("box of no use")

    monkeypatch.setattr(detectors, "train", fail)
    with pytest.raises(SettingsError, match="box of no use"):
        trained(frames, tmp_path)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_the_process_tells_its_steps_and_what_was_wrong(frames, tmp_path: Path, monkeypatch, capfd) -> None:
    said = []
    monkeypatch.setattr(lane, "die_with", lambda parent: None)
    monkeypatch.setattr(lane, "speaker", lambda: said.append)
    plan = Plan(frames=frames, size_px=SIZE_PX, teachers=FEW, out=tmp_path / "out", parent=os.getpid())
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    assert side_by_side.main(tmp_path / "plan.json") == 0
    assert said == [{"kind": "steps", "count": 1}] * 2
    assert detectors.load(tmp_path / "out").settings.architecture == "faster_rcnn"
    none = plan.model_copy(update={"frames": frames_output(tmp_path / "bare", annotated=False)})
    (tmp_path / "plan.json").write_text(none.model_dump_json())
    assert side_by_side.main(tmp_path / "plan.json") == lane.REFUSED
    assert said[-1]["error"] == "SourceError" and "none has a box" in said[-1]["what"]
    monkeypatch.setattr(detectors, "train", lambda *arguments, **named: 1 / 0)
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    assert side_by_side.main(tmp_path / "plan.json") == lane.FAILED
    assert said[-1] == {"kind": "failed", "text": "ZeroDivisionError: division by zero"}


@pytest.mark.slow
def test_the_other_dies_with_a_killed_parent(frames: Path, tmp_path: Path) -> None:
    long = json.dumps([one.model_copy(update={"steps": 100_000}).model_dump() for one in FEW.detectors])
    code = (
        "import json, pathlib, sys; from irgen.settings import TeachersSettings\n"
        "from tests.labels import test_side_by_side\n"
        "frames, scratch = map(pathlib.Path, sys.argv[1:3])\n"
        "test_side_by_side.trained(frames, scratch, TeachersSettings(detectors=json.loads(sys.argv[3])))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(frames), str(tmp_path), long])
    until(lambda: len(children(parent.pid)) == 1)
    [other] = children(parent.pid)
    until(lambda: other.cpu_times().user > 1)  # past its first lines
    parent.kill()
    assert parent.wait() == -signal.SIGKILL
    until(lambda: not other.is_running())


def children(pid: int) -> list[psutil.Process]:
    """Trainers that a process has started; libraries start others for a moment."""
    found = []
    for one in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "irgen.labels.side_by_side" in one.cmdline():
                found.append(one)
    return found


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
