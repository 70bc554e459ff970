"""What a person does in Prefect's pages, done by a browser against a running `irgen ui`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from irgen import store
from tests.flows import serving
from tests.flows.browser import Browser
from tests.flows.serving import Ui

pytestmark = [pytest.mark.server, pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def ui(data: Path) -> Iterator[Ui]:
    with serving.serving(data) as running:
        running.pause_schedules()
        yield running


@pytest.fixture
def browser(ui: Ui, tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(ui.url, tmp_path)
    try:
        yield opened
        assert opened.hosts() == {"127.0.0.1"}
    finally:
        opened.close()


def test_a_failed_build_goes_on_at_the_stage_that_failed(ui: Ui, browser: Browser, data: Path, tmp_path: Path) -> None:
    manifest = serving.manifest(tmp_path / "tiny.yaml", verifier={"bar": {"gray": 1.0, "match": 1.0}})
    building = ui.start("build_dataset/irgen", {"manifest": str(manifest), "data": str(data)})
    browser.open("/deployments")
    browser.see("build_dataset", "frames", "samples", "At 02:00 AM every day")
    browser.picture("deployments")
    browser.rest()

    failed = ui.end(building)
    assert failed["type"] == "FAILED", failed["message"]
    browser.open(f"/runs/flow-run/{building}")
    assert "too weak on held-out frames" in failed["message"]
    browser.see("Failed", "verifier")
    browser.picture("failed")
    serving.manifest(manifest)
    browser.click("Retry")
    browser.see("This will retry flow run")
    browser.click("Retry")
    _until_or_again(browser, "Retry", lambda: ui.state(building)["id"] != failed["id"])
    browser.rest()
    mended = ui.end(building, before=failed["id"])
    assert mended["type"] == "COMPLETED", mended["message"]
    assert _made(data) == dict.fromkeys(_made(data), 1)
    browser.open(f"/runs/flow-run/{building}?tab=Artifacts")
    browser.see("Completed")
    browser.picture("built")


def test_a_stage_is_made_anew_from_the_form_and_from_a_copy(
    ui: Ui, browser: Browser, data: Path, tmp_path: Path
) -> None:
    manifest = serving.manifest(tmp_path / "tiny.yaml")
    assert ui.run("build_dataset/irgen", {"manifest": str(manifest), "data": str(data)})["type"] == "COMPLETED"
    made = _made(data)
    _fill(ui, browser)
    run_id = _submit(ui, browser)
    assert ui.end(run_id)["type"] == "COMPLETED"
    assert _made(data) == {**made, "06-samples": made["06-samples"] + 1}
    browser.open(f"/artifacts/artifact/{_artifact(ui, run_id, 'tiny-samples')}")
    browser.see("real", "unguided", "guided", "lowest score")
    assert len(browser.pictures_shown()) >= 4 * 6
    browser.picture("samples")
    browser.open(f"/artifacts/artifact/{_artifact(ui, run_id, 'tiny-samples-lanes')}")
    browser.see("6 of 6 images", "ended")
    browser.picture("lanes")

    browser.open(f"/runs/flow-run/{run_id}")
    browser.see("Completed")
    browser.menu()
    browser.click("Copy to new run")
    browser.see("Parameters")
    browser.fill("Seed", "8")
    browser.picture("copy")
    again = _submit(ui, browser)
    assert ui.end(again)["type"] == "COMPLETED"
    assert _made(data) == {**made, "06-samples": made["06-samples"] + 2}


def _fill(ui: Ui, browser: Browser) -> None:
    """Ask for the samples of another seed from the empty form."""
    samples = ui.call("/deployments/name/samples/irgen")["id"]
    browser.open(f"/deployments/deployment/{samples}/run")
    browser.see("The algorithm and its budget.", "HalvingSearch", "CalibratedSearch")
    browser.picture("form")
    browser.fill("dataset", "tiny")
    fields = {"Images": "6", "Steps": "2", "Candidates": "2", "Batch Size": "4", "Images Per Shard": "2", "Seed": "7"}
    base = {"Model": "miniature", "Height Px": "80", "Width Px": "96", "Max Sequence Length": "48", "lanes": "2"}
    for label, value in (fields | base).items():
        browser.fill(label, value)


def _submit(ui: Ui, browser: Browser) -> str:
    """Send the form and return the run of samples that it asked for."""
    before = _runs(ui)
    browser.click("Submit")
    _until_or_again(browser, "Submit", lambda: _runs(ui) != before)
    browser.rest()
    (run_id,) = _runs(ui) - before
    return run_id


def _until_or_again(browser: Browser, button: str, done: Callable[[], bool]) -> None:
    """Wait for what a click asked for, and click again where nothing comes of it.

    SQLite refuses a write while another is under way; the page then says so, and a person clicks again.
    """
    try:
        serving.until(done, f"what {button} asks for", seconds=75)  # longer than SQLite waits for the other write
    except AssertionError:
        browser.click(button)
        serving.until(done, f"what {button} asks for")


def _runs(ui: Ui) -> set[str]:
    """Return the runs of samples that a deployment asked for."""
    found = ui.call("/flow_runs/filter", {"flows": {"name": {"any_": ["samples"]}}})
    return {run["id"] for run in found if run["deployment_id"]}


def _artifact(ui: Ui, run_id: str, key: str) -> str:
    found = ui.call("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}}})
    artifact_id: str = found[0]["id"]
    return artifact_id


def _made(data: Path) -> dict[str, int]:
    """Count each stage's outputs."""
    found = [path.parent.parent.name for path in (data / "tiny").glob(f"*/*/{store.MANIFEST}")]
    return {name: found.count(name) for name in sorted(set(found))}
