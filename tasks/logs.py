"""What a run's log shows of an error: its traceback once, though it passes through a task and two flows."""

import logging

LOGGERS = ("prefect.task_runs", "prefect.flow_runs", "prefect.engine")
TOLD = "_irgen_traceback_told"


class Once(logging.Filter):
    """Takes the traceback off a line about an error whose traceback an earlier line has."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            if hasattr(error, TOLD):
                record.exc_info = None
            else:
                setattr(error, TOLD, True)
        return True


def tracebacks_once() -> None:
    """Have Prefect's loggers of this process tell each traceback once."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, Once) for each in logger.filters):
            logger.addFilter(Once())
