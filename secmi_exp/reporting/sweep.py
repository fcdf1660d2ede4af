"""How a sweep ends: a table of all its jobs, what they cost together, and a comparison of those that can be compared.

Hydra imports this before it shows --help: the comparison is imported when a sweep has ended.
"""

from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secmi_exp.errors import UserError, first_line
from secmi_exp.reporting.jobs import FAILURE, Job, ended_jobs, estimate, failed_jobs, swept_names
from secmi_exp.reporting.row_files import write_csv, write_parquet
from secmi_exp.reporting.terminal import terminal
from secmi_exp.run_warnings import RunWarning
from secmi_exp.search import direction
from secmi_exp.shown_text import one_sentence
from secmi_exp.storage_errors import explain_storage_errors, output_place

SHOWN = {"auc": "AUC", "asr": "ASR"}
"""Metrics that the terminal's table has room for; summary.csv has them all."""


class OpenSweep(NamedTuple):
    """A sweep that is running."""

    folder: Path
    search: str | None
    """Its direction, maximize or minimize, where it is a search."""


_open: OpenSweep | None = None
"""In this process."""


class SweepSummary(Callback):
    """Knows of a multirun that is to be closed, and keeps why a job has failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Know what is to be closed."""
        global _open
        _open = OpenSweep(Path(config.hydra.sweep.dir).absolute(), direction(config.hydra))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Leave the reason in the directory of a job that has failed, by whatever launcher it was started."""
        if job_return.status == JobStatus.FAILED and isinstance(error := job_return._return_value, Exception):
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
            told = Path(config.hydra.runtime.output_dir) / FAILURE
            try:
                told.write_text(one_sentence(reason) + "\n", encoding="utf-8")
            except OSError:  # on a full disk the job's own sentence is all there is
                told.unlink(missing_ok=True)


def close_open_sweep() -> None:
    """Close the sweep that has been running, where one has.

    Not at Hydra's own end of a multirun: there is none once a job has failed, and an exception there would be lost.
    """
    global _open
    closing, _open = _open, None
    if closing:
        with explain_storage_errors(output_place(closing.folder)):
            close_sweep(*closing)


def close_sweep(folder: Path, search: str | None = None) -> None:
    """Write summary.csv and what the kind of sweep asks for, and end standard output with the sweep's directory.

    Args:
        folder: the sweep's directory.
        search: direction of a search, maximize or minimize; None for a sweep over what was given.
    """
    jobs, failed = ended_jobs(folder), failed_jobs(folder)
    if not jobs and not failed:
        return
    rows = [job.row() for job in jobs]
    write_csv(folder / "summary.csv", [*rows, *(job.row() for job in failed)])
    write_parquet(folder / "summary.parquet", [*rows, *(job.row() for job in failed)])
    console = terminal()
    if search:
        present_search(jobs, search, folder, console)
    elif jobs:
        present_jobs(jobs, rows, folder, console)
    print_warnings_of(jobs, console)
    if failed:
        console.print(f"{len(failed)} of {len(jobs) + len(failed)} jobs failed:")
    for job in failed:
        console.print(Text(f"  {job.name}: {job.reason}"), soft_wrap=True)
    spent, seconds = sum(job.queries_spent for job in jobs), sum(job.seconds for job in jobs)
    console.print(f"The sweep made {spent:,} queries in {seconds:.0f} s of its jobs' time.")
    console.print(str(folder), soft_wrap=True)


def print_warnings_of(jobs: list[Job], console: Console) -> None:
    """Each warning of the jobs once, with the jobs that it concerns."""
    concerned: dict[RunWarning, list[str]] = {}
    for job in jobs:
        for warning in job.warnings:
            concerned.setdefault(warning, []).append(job.name)
    for warning, names in concerned.items():
        which = (
            "" if len(names) == len(jobs) else f" (jobs {', '.join(names)})" if len(names) > 1 else f" (job {names[0]})"
        )
        kind = "Figures are no measure of a leak" if warning.grave else "Warning"
        console.print(Text(f"{kind}{which}: {warning.sentence}"), soft_wrap=True)


def present_jobs(jobs: list[Job], rows: list[dict[str, Any]], folder: Path, console: Console) -> None:
    """Compare those that can be compared, print one table, draw what was swept."""
    if not compared(jobs, folder, console):
        console.print(summary(jobs))
    if len(jobs) > 1:
        draw(folder, rows, swept_names([job.given for job in jobs]), console)


def present_search(jobs: list[Job], direction: str, folder: Path, console: Console) -> None:
    """The same by validation AUC alone, so that nobody chooses by the evaluation part, and then the choice."""
    from secmi_exp.reporting.search import by_validation, choice, search_table

    ranked = by_validation(jobs, direction)
    if not ranked:
        return
    from secmi_exp.reporting.search_figure import draw_search

    console.print(search_table(ranked))
    draw_search(folder / "sweep.png", ranked)
    console.print(choice(ranked), soft_wrap=True)


def draw(folder: Path, rows: list[dict[str, Any]], swept: list[str], console: Console) -> None:
    """The figures that fit what was swept and measured, and the table of leak and quality."""
    from secmi_exp.reporting.axes_figure import draw_axes
    from secmi_exp.reporting.tradeoff import draw_tradeoff, tradeoff_table

    draw_axes(folder / "sweep.png", rows, swept)
    draw_tradeoff(folder / "tradeoff.png", rows, swept)
    if table := tradeoff_table(rows, swept):
        console.print(table)


def compared(jobs: list[Job], folder: Path, console: Console) -> bool:
    """Whether there was anything to compare; then it is compared, and the table printed."""
    if len(jobs) < 2 and not any(job.results.get("others") for job in jobs):
        return False
    from secmi_exp.reporting.comparison import compare_jobs

    return compare_jobs(jobs, folder, console)


def summary(jobs: list[Job]) -> Table:
    """A row for each job, with the settings in which they differ, and the cost of all."""
    swept = swept_names([job.given for job in jobs])
    table = Table("job", title=f"{len(jobs)} jobs", title_justify="left")
    for name in swept:
        table.add_column(Text(name.rpartition(".")[2]))
    for title in (*SHOWN.values(), "queries/sample", "made", "seconds"):
        table.add_column(title, justify="right", no_wrap=title in SHOWN.values())
    for job in jobs:
        metrics = (str(estimate(job.results, metric)) for metric in SHOWN)  # such as 0.898 [0.867, 0.925]
        per_sample = str(job.results.get("queries_per_sample", ""))
        cost = (per_sample, f"{job.queries_spent:,}", f"{job.seconds:.1f}")
        table.add_row(*map(Text, (job.name, *(job.given.get(name, "") for name in swept), *metrics, *cost)))
    return table
