"""The examples of docs/extending.md, installed."""

import tomllib
from pathlib import Path

import pytest


@pytest.fixture
def extending(repository: Path) -> Path:
    return repository / "examples" / "extending"


@pytest.fixture
def installed(extending: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `pip install --editable examples/extending` leaves behind, without pip; returns the package's metadata."""
    project = tomllib.loads((extending / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"irgen_extending-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n")
    lines: list[str] = []
    for group, listed in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in listed.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(extending))
    monkeypatch.syspath_prepend(str(info.parent))
    return info
