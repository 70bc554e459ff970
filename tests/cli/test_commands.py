"""What all commands have in common."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from irgen import cli
from tests.cli.terminal import irgen

COMMANDS = sorted(typer.main.get_command(cli.app).commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_teaches_with_an_example(command: str) -> None:
    done = irgen(command, "--help")
    assert done.exit_code == 0
    assert f"Example: irgen {command}" in " ".join(done.stdout.split())


def test_brackets_in_a_help_are_no_markup() -> None:
    assert "reward[prompt, seed, step]" in " ".join(irgen("policy", "--help").stdout.split())


def test_help_and_version_load_no_slow_library(repository: Path) -> None:
    code = "import sys; from irgen import cli; sys.argv[1:] = ['--help']\ntry: cli.main()\nexcept SystemExit: pass\n"
    code += (
        "print(*{'torch', 'prefect', 'pyarrow', 'pandas', 'pydantic', 'numpy'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert irgen("--version").stdout.startswith("irgen ")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("plan", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read"),
        (("run", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read"),
        (("verify", "nowhere"), 1, "nowhere: no such folder"),
        (("gc", "nowhere"), 1, "nowhere: no such folder"),
        (("doctor", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read"),
        (("export", "nowhere", "--out", "out"), 1, "nowhere: no such folder"),
        (("export", "nowhere", "--format", "cocoo", "--out", "out"), 2, "Forms: coco, yolo, hf, voc"),
        (("audit", "nowhere"), 1, "nowhere: no such folder"),
        (("repair", "nowhere"), 1, "nowhere: no such folder"),
        (("regenerate", "nowhere", "1"), 1, "nowhere: no such folder"),
        (("push", "nowhere", "s3://bucket/prefix"), 1, "nowhere: no such folder"),
        (("pull", "nowhere", "out"), 2, "Write s3://BUCKET/PREFIX"),
        (("compare", "nowhere", "there"), 1, "nowhere: has no finished report"),
        (("verifier-card", "nowhere"), 1, "nowhere: not a finished output"),
        (("feature-net", "nowhere", "out"), 1, "nowhere: not a finished output"),
        (("policy", "--rewards", "nowhere.npz"), 1, "nowhere.npz: cannot be read"),
        (("missrate", "--truth", "nowhere.json", "--detections", "b.txt"), 1, "nowhere.json: not JSON"),
        (("frames", "--source", "kaist", "--root", "nowhere", "--out", "out"), 1, "nowhere: no such folder"),
        (("frames", "--source", "kaiist", "--root", ".", "--out", "out"), 2, "`source` = 'kaiist'"),
        (("frames", "--source", "kaist", "--out", "out"), 2, "needs `root`"),
    ],
)
def test_bad_input_gives_one_message_and_no_traceback(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = irgen(*arguments)
    assert done.exit_code == code
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []
