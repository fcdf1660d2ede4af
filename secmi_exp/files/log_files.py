"""Log files that don't end the run, nor fill the terminal with tracebacks, when the disk is full."""

import logging
import sys

from secmi_exp.errors import first_line


class LogFile(logging.FileHandler):
    """A log file that is abandoned, with one message, as soon as it can't be written."""

    failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless an earlier one couldn't be written."""
        if not self.failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Abandon the file after an error of the file system."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.failed:
            self.failed = True
            sys.stderr.write(
                f"The log {self.baseFilename} can't be written ({first_line(error)}): the run goes on without it.\n"
            )


def keep_log_files_from_failing() -> None:
    """Replace the log files that Hydra has opened for this job by `LogFile`."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) is logging.FileHandler:
            kept = LogFile(handler.baseFilename)
            kept.setLevel(handler.level)
            kept.setFormatter(handler.formatter)
            handler.close()
            root.removeHandler(handler)
            root.addHandler(kept)
