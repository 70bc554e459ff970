"""What of an error a run's log shows."""

import logging

import pytest

from tasks import logs


@pytest.fixture(autouse=True)
def _shown(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in logs.LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    logs.tracebacks_once()


def told(error: Exception) -> None:
    """Log an error as Prefect does on its way up."""
    for name in logs.LOGGERS:
        try:
            raise error
        except ValueError:
            logging.getLogger(name).exception("Encountered exception: %r", error)


def test_a_traceback_is_told_once_and_the_error_by_every_line(caplog: pytest.LogCaptureFixture) -> None:
    told(ValueError("one"))
    told(ValueError("one"))
    shown = [record for record in caplog.records if record.name in logs.LOGGERS]
    assert [bool(record.exc_info) for record in shown] == [True, False, False] * 2
    assert all("ValueError('one')" in record.getMessage() for record in shown)


def test_lines_without_an_error_pass_and_asking_twice_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    logs.tracebacks_once()
    logger = logging.getLogger(logs.LOGGERS[0])
    logger.error("plain")
    assert [record.getMessage() for record in caplog.records] == ["plain"]
    assert sum(isinstance(each, logs.Once) for each in logger.filters) == 1
