"""How tests type commands: in this process, or as somebody at a terminal."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml
from typer.testing import CliRunner, Result

from irgen import cli
from tests.fake_stages import MANIFEST


def irgen(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


class User:
    """Somebody at a terminal in a folder with a manifest of a new dataset; the stages are fakes."""

    def __init__(self, folder: Path, data: Path, repository: Path) -> None:
        self.folder = folder
        self.data = data
        self.environment = {**os.environ, "PYTHONPATH": str(repository), "IRGEN_DATA": str(data)}
        self.environment.pop("PREFECT_API_URL", None)
        (folder / "tiny.yaml").write_text(yaml.safe_dump({**MANIFEST, "dataset": self.dataset.name}))

    @property
    def dataset(self) -> Path:
        return self.data / self.folder.name.replace("_", "-").lower()

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fake_stages", *arguments],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def irgen(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, environment=environment)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err
