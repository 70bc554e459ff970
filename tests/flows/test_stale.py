"""Which of the runs that a server calls Running are told as stale."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import automation, local, stale
from irgen import store

URL = "http://127.0.0.1:1/api"


def run(seconds: float, name: str = "tiny", **parameters: Any) -> dict[str, Any]:
    begun = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    return {"id": f"id-{name}", "name": name, "start_time": begun, "parameters": parameters}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A server with these runs, of which those named in `heard` gave a sign of life."""

    def serve(*runs: dict[str, Any], heard: tuple[str, ...] = ()) -> None:
        def call(method: str, url: str, body: Any) -> Any:
            if url == f"{URL}/flow_runs/filter":
                return list(runs)
            assert url == f"{URL}/events/filter"
            (resource,) = body["filter"]["resource"]["id"]
            return {"events": [{}] if resource.removeprefix("prefect.flow-run.id-") in heard else []}

        monkeypatch.setenv("PREFECT_API_URL", URL)
        monkeypatch.setattr(local, "answers", lambda url: url == URL)
        monkeypatch.setattr(automation, "call", call)

    return serve


def test_without_a_server_one_line_says_so_and_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{local.free_port()}/api")
    (check,) = stale.look(tmp_path)
    assert check.verdict == "ok" and "no Prefect server answers at http://127.0.0.1:" in check.found


def test_a_silent_run_of_a_dataset_that_nobody_holds_is_stale(server: Callable[..., None], tmp_path: Path) -> None:
    server(run(900, dataset="tiny", data=str(tmp_path)))
    (check,) = stale.look(Path("elsewhere"))
    assert check.verdict == "warning" and "id-tiny" in check.found and "its process is gone" in check.found
    assert "carries on" in check.fix and "prefect flow-run delete id-tiny" in check.fix


def test_a_run_that_gives_signs_of_life_or_has_just_begun_is_not(server: Callable[..., None], tmp_path: Path) -> None:
    server(run(900, dataset="tiny"), run(20, "new", dataset="tiny"), heard=("tiny",))
    (check,) = stale.look(tmp_path)
    assert (check.verdict, check.found) == ("ok", f"2 running at {URL}, none stale")


def test_a_silent_run_whose_dataset_somebody_is_at_is_not(server: Callable[..., None], tmp_path: Path) -> None:
    manifest = tmp_path / "tiny.yaml"
    manifest.write_text("dataset: tiny\nframes: {source: miniature}\n")
    server(run(900, manifest=str(manifest)), run(900, "gone", manifest=str(tmp_path / "absent.yaml")))
    with store.exclusive(tmp_path / "tiny" / "06-samples" / "ab"):
        (check,) = stale.look(tmp_path)
        assert "id-gone" in check.found
    assert len(list(stale.look(tmp_path))) == 2


def test_a_silent_study_that_somebody_is_at_is_not(server: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("dataset: tiny\nframes: {source: miniature}\n")
    study = tmp_path / "study.yaml"
    study.write_text("study: question\nquestion: '?'\nbase: base.yaml\nvariants: {a: {}}\n")
    server(run(900, manifest=str(study)))
    with store.exclusive(tmp_path / "question" / "06-samples" / "ab"):
        (check,) = stale.look(tmp_path)
        assert check.verdict == "ok"
    assert next(iter(stale.look(tmp_path))).verdict == "warning"


def test_a_server_that_refuses_is_a_warning(
    server: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("HTTP Error 401: Unauthorized")

    server()
    monkeypatch.setattr(automation, "call", refuse)
    (check,) = stale.look(tmp_path)
    assert check.verdict == "warning" and "401" in check.found
