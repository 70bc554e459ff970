"""Where a Prefect server keeps its state, with the database made already: that takes seven seconds, copying it none."""

import fcntl
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of no run yet, to copy with `settle`; one for all of pytest-xdist's workers."""
    from flows import local  # not at the top: conftest.py, which imports this, first sets the environment

    base = tmp_path_factory.getbasetemp()
    data = (base.parent if base.name.startswith("popen-") else base) / "prefect"
    data.mkdir(exist_ok=True)
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (data / "made").exists():
            local.home(data).mkdir(exist_ok=True)
            port = local.free_port()
            quiet = {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"}
            server = local.start_server(port, {**local.environment(data, port), **quiet})
            local.wait_until_ready(local.api_url(port), [server])
            local.stop([server])
            (data / "made").touch()
    return local.home(data)


def settle(home: Path, data: Path) -> Path:
    """Copy a home into a data folder, and return the folder."""
    from flows import local

    shutil.copytree(home, local.home(data))
    return data
