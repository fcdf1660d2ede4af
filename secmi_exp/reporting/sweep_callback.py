"""Hydra's callback for sweeps, which Hydra imports before it shows --help: nothing heavy is imported here."""

from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from secmi_exp.configuration.search import search_direction
from secmi_exp.deferred import Deferred
from secmi_exp.files.storage_errors import explain_storage_errors, output_place
from secmi_exp.reporting.failure_file import write_failure

close_sweep = Deferred("secmi_exp.reporting.sweep_output:close_sweep")


class OpenSweep(NamedTuple):
    """A sweep that is running in this process."""

    folder: Path
    search: str | None
    """What a search does with AUC, maximize or minimize; None for another sweep."""


_open: OpenSweep | None = None
_written: Path | None = None


class SweepSummary(Callback):
    """Records which sweep is running, and why a job has failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the sweep."""
        global _open, _written
        _open = OpenSweep(Path(config.hydra.sweep.dir).absolute(), search_direction(config.hydra))
        _written = _open.folder

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write the reason into the directory of a job that has failed, whatever launcher started it."""
        if job_return.status == JobStatus.FAILED and isinstance(error := job_return._return_value, Exception):
            write_failure(Path(config.hydra.runtime.output_dir), error)


def note_run(folder: Path) -> None:
    """Record where a run writes that may be no job of a sweep."""
    global _written
    if _open is None:
        _written = folder


def written_folder() -> Path | None:
    """Return the directory of the sweep or of the single run that this process has carried out; None before that."""
    return _written


def close_open_sweep() -> None:
    """Write and print the end of the sweep that was running, if one was.

    Not called by Hydra's own hook at the end of a multirun: it isn't called once a job has failed, and an exception in
    it would be lost.
    """
    global _open
    closing, _open = _open, None
    if closing:
        with explain_storage_errors(output_place(closing.folder)):
            close_sweep(*closing)
