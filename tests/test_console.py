"""How errors are worded."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from irgen import console


def test_a_full_disk_is_named_whatever_it_looks_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as raised, console.clear_errors(console.Context()):
        raise OSError(28, "No space left on device", str(tmp_path / "model.safetensors"))
    assert raised.value.code == 1
    assert f"{tmp_path}: the disk is full (" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(SystemExit), console.clear_errors(console.Context(folder=tmp_path / "new" / "data")):
        raise RuntimeError("database or disk is full")
    assert f"{tmp_path}: the disk is full (0 MiB free)" in capsys.readouterr().err


def test_what_was_not_foreseen_is_one_line_and_a_traceback_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised, console.clear_errors(console.Context()):
        raise TypeError("unsupported operand")
    assert raised.value.code == 1
    assert "TypeError: unsupported operand" in capsys.readouterr().err
    with pytest.raises(TypeError), console.clear_errors(console.Context(debug=True)):
        raise TypeError("unsupported operand")
