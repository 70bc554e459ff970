"""Prefect on this machine alone: a server on loopback that keeps its state under the data folder.

Prefect reads its settings when it is imported, so this module imports it nowhere: set `environment` first, then import
flows.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flows import automation
from irgen.errors import IrgenError, SettingsError
from irgen.executors import Executor
from irgen.pipeline import Outcome
from irgen.studies.settings import is_study

log = logging.getLogger("irgen.ui")

HOST = "127.0.0.1"
POOL = "irgen"
ROOT = Path(__file__).resolve().parents[1]
"""The checkout: where prefect.yaml and manifests/ lie."""

PORTS = (20_000, 32_768)
"""From which to take one where nobody named any; below those that Linux gives to connections."""

START_S = 300.0
STOP_S = 10.0
SHORT_LIFE_S, SHORT_LIVES = 20.0, 3
"""A process that ends so soon, more than so many times in a row, is not started again."""

HEARTBEAT_S = 30
"""Between a flow's signs of life; see automations.yaml for how many may fail to come."""

CLIENT_RETRIES = 8
"""Each waits twice as long as the one before: a server may be gone for some minutes, and no run fails."""

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class ServerError(IrgenError):
    """A Prefect server that does not start or does not answer."""


def home(data: Path) -> Path:
    """Return where the server's database, results and logs lie."""
    return (data / ".prefect").resolve()


def api_url(port: int) -> str:
    """Return the address of the API of a server on loopback."""
    return f"http://{HOST}:{port}/api"


def environment(data: Path, port: int) -> dict[str, str]:
    """Return the settings of everything of Prefect that runs on this machine: loopback, silent, nothing sent out."""
    return {
        "PREFECT_HOME": str(home(data)),
        "PREFECT_API_URL": api_url(port),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home(data) / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "PREFECT_CLIENT_MAX_RETRIES": str(CLIENT_RETRIES),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "irgen",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "IRGEN_DATA": str(data),
    }


def build(
    manifest: Path,
    data: Path,
    from_stage: str | None,
    only: str | None,
    lanes: int,
    executor: Executor = "local",
    ranks: int = 1,
    *,
    debug: bool,
) -> dict[str, Outcome]:
    """Call `build_dataset`, or `study` for a study's manifest, from this process, which must not know Prefect yet.

    With PREFECT_API_URL set, it runs against that server; else against one started here, without the UI, that stops
    when this process ends.

    Args:
        manifest: path of the manifest.
        data: the data folder.
        from_stage: first stage to make anew.
        only: the one stage to make anew.
        lanes: processes that make samples side by side; 0: one a GPU.
        executor: where they run.
        ranks: processes that train adapter and verifier together.
        debug: show Prefect's own messages.

    Raises:
        ServerError: the server does not answer.
        IrgenError: as the flow.
    """
    if not debug:
        # The command line's handler speaks on the terminal; Prefect's own lines still reach its server.
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    if url := os.environ.get("PREFECT_API_URL"):
        os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "irgen")
        # The automation takes a run without a heartbeat for two minutes for dead; Prefect's own is every three.
        os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_S))
        if not answers(url):
            raise ServerError(f"PREFECT_API_URL = {url}: no Prefect server answers", "Start it, or unset the variable.")
        return _build(manifest, data, from_stage, only, lanes, executor, ranks)
    port = free_port()
    os.environ.update(environment(data, port))
    home(data).mkdir(parents=True, exist_ok=True)
    server = start_server(port, {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"})
    # Exit handlers run last in, first out: registered before Prefect is imported, this one stops the server after
    # Prefect has sent its last logs and events.
    atexit.register(stop, [server])
    from prefect.settings import temporary_settings

    import flows.build_dataset  # noqa: F401  (takes a second, while the server starts)

    wait_until_ready(api_url(port), [server])
    # A flow waits a second for its heartbeat's thread; this server, which ends with us, needs no sign of life.
    with temporary_settings({"flows.heartbeat_frequency": None}):
        return _build(manifest, data, from_stage, only, lanes, executor, ranks)


def _build(
    manifest: Path,
    data: Path,
    from_stage: str | None,
    only: str | None,
    lanes: int,
    executor: Executor,
    ranks: int,
) -> dict[str, Outcome]:
    if is_study(manifest):
        from flows.studies import study

        return study(manifest=str(manifest), data=str(data), lanes=lanes, executor=executor, ranks=ranks)
    from flows.build_dataset import build_dataset

    return build_dataset(
        manifest=str(manifest),
        data=str(data),
        from_stage=from_stage,
        only=only,
        lanes=lanes,
        executor=executor,
        ranks=ranks,
    )


def wait_until_ready(server_url: str, processes: Sequence[subprocess.Popen[bytes]] = ()) -> None:
    """Wait until the server answers.

    Raises:
        ServerError: it does not within five minutes, or one of the processes ended.
    """
    deadline = time.monotonic() + START_S
    while True:
        # Asked before the process is looked at: where that has ended, it was another server that answered.
        ready = answers(server_url)
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            raise ServerError(f"{server_url}: the Prefect server did not start", "`irgen --debug ...` shows why.")
        if ready:
            return
        time.sleep(0.05)


def start_server(port: int, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a server process on loopback."""
    command = ("uvicorn", "--factory", "prefect.server.api.server:create_app", "--lifespan", "on", "--log-level")
    return start((*command, "error", "--host", HOST, "--port", str(port)), {**settings, "PREFECT__SERVER_FINAL": "1"})


def start(module: Sequence[str], settings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a Python module as a process that dies with this one and does not see its Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", *module],
        env={**os.environ, **(settings or {})},
        stdin=subprocess.DEVNULL,
        stdout=2,  # what they say is no result of the command
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, the last started first; kill, with all their children, those that do not."""
    for process in reversed(processes):
        if process.poll() is not None:
            continue
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(server_url: str) -> bool:
    """Return whether a Prefect server is there."""
    try:
        with urllib.request.urlopen(f"{server_url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """Return a port that nothing listens on, outside of those that the system hands out by itself meanwhile."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def check_port(port: int) -> None:
    """Refuse a port that is in use.

    Raises:
        SettingsError: naming it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SettingsError(
                f"--port {port}: cannot be used on {HOST} ({error.strerror})", "Choose another with --port."
            ) from error


def _die_with_parent() -> None:
    """In a child between fork and exec: have the kernel end it when the thread that started it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def serve(data: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve the UI, the deployments of prefect.yaml and a worker, until interrupted.

    Args:
        data: the data folder; it holds the server's state, too.
        port: on loopback.
        ready: called with the UI's address when all is up.

    Raises:
        SettingsError: the port is taken, or there is no prefect.yaml.
        ServerError: something does not start, or ends.
    """
    check_port(port)
    if not (ROOT / "prefect.yaml").exists():
        raise SettingsError(f"{ROOT}: has no prefect.yaml to take the deployments from", "Run it from a checkout.")
    home(data).mkdir(parents=True, exist_ok=True)
    os.environ.update(environment(data.resolve(), port))
    os.environ["PWD"] = str(ROOT)  # where prefect.yaml says that flows run
    kept = [Kept("the Prefect server", lambda: start_server(port, {}))]
    try:
        wait_until_ready(api_url(port), [kept[0].process])
        _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
        kept.append(Kept("its worker", lambda: start(("prefect", "worker", "start", "--pool", POOL, "--name", POOL))))
        _prefect("--no-prompt", "deploy", "--all")
        automation.ensure(api_url(port), ROOT / "automations.yaml")
        ready(f"http://{HOST}:{port}")
        while True:
            for each in kept:
                each.look_after()
            time.sleep(0.2)
    finally:
        stop([each.process for each in kept])


class Kept:
    """A process that is started again when it dies, unless it cannot live."""

    def __init__(self, name: str, begin: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._name = name
        self._begin = begin
        self._begun_s = time.monotonic()
        self._short_lives = 0
        self.process = begin()

    def look_after(self) -> None:
        """Start it again if it died.

        Raises:
            ServerError: it died at once, several times over.
        """
        if (code := self.process.poll()) is None:
            return
        self._short_lives = self._short_lives + 1 if time.monotonic() - self._begun_s < SHORT_LIFE_S else 0
        if self._short_lives > SHORT_LIVES:
            raise ServerError(f"{self._name} does not stay alive (exit code {code})", "The lines above may say why.")
        log.warning("%s ended (exit code %d); started again", self._name, code)
        self._begun_s = time.monotonic()
        self.process = self._begin()


def _prefect(*arguments: str) -> None:
    """Run a Prefect command to its end."""
    done = subprocess.run([sys.executable, "-m", "prefect", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ServerError(f"`prefect {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}".rstrip())
