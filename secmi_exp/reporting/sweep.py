"""What a sweep leaves beside its jobs' directories: a table of them all, and what they cost together."""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

SHOWN = {"auc": "AUC", "asr": "ASR"}
"""Metrics that the terminal's table has room for; summary.csv has them all."""


@dataclass(frozen=True)
class Job:
    """A job that has ended with a result."""

    name: str
    given: dict[str, str]
    """Its overrides."""
    results: dict[str, Any]
    """Its results.json."""

    @classmethod
    def of(cls, folder: Path) -> "Job":
        """Read a job's directory."""
        overrides = OmegaConf.load(folder / ".hydra/overrides.yaml")
        given = dict(str(override).lstrip("+").split("=", 1) for override in overrides)
        return cls(folder.name, given, json.loads((folder / "results.json").read_text(encoding="utf-8")))

    @property
    def queries_spent(self) -> int:
        """Queries that it made itself, over all samples."""
        return int(self.results.get("queries_spent", 0))

    @property
    def seconds(self) -> float:
        """Of all its stages."""
        return float(sum(self.results["timing_s"].values()))

    def interval(self, metric: str) -> tuple[float | None, float | None, float | None]:
        """Value, and the ends of its 95% interval; None where unresolved."""
        low, high = self.results.get("ci95", {}).get(metric) or (None, None)
        return self.results.get("metrics", {}).get(metric), low, high

    def row(self) -> dict[str, Any]:
        """Of summary.csv."""
        metrics: dict[str, float | None] = {}
        for name in self.results.get("metrics", {}):
            metrics |= dict(zip((name, f"{name}_low", f"{name}_high"), self.interval(name), strict=True))
        cost = {
            "queries_per_sample": self.results.get("queries_per_sample"),
            "queries_spent": self.queries_spent,
            "seconds": round(self.seconds, 3),
        }
        return {"job": self.name, **self.given, **metrics, **cost}


class SweepSummary(Callback):
    """Closes every multirun."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write summary.csv, print the table, and end standard output with the sweep's directory."""
        folder = Path(config.hydra.sweep.dir).absolute()
        jobs = [Job.of(file.parent) for file in folder.glob("*/results.json")]
        jobs.sort(key=lambda job: (len(job.name), job.name))  # 2 before 10
        if jobs:
            write_csv(folder / "summary.csv", [job.row() for job in jobs])
            print_summary(jobs, folder)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """All columns of all jobs."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def print_summary(jobs: list[Job], folder: Path) -> None:
    """A row for each job, with the settings in which they differ, and the cost of all."""
    names = dict.fromkeys(name for job in jobs for name in job.given)
    swept = [name for name in names if len({job.given.get(name) for job in jobs}) > 1]
    table = Table("job", *(name.rpartition(".")[2] for name in swept), title=f"{len(jobs)} jobs", title_justify="left")
    for title in (*SHOWN.values(), "queries/sample", "made", "seconds"):
        table.add_column(title, justify="right", no_wrap=title in SHOWN.values())
    for job in jobs:
        metrics = [cell(*job.interval(metric)) for metric in SHOWN]  # such as 0.898 [0.867, 0.925]
        per_sample = str(job.results.get("queries_per_sample", ""))
        cost = (per_sample, f"{job.queries_spent:,}", f"{job.seconds:.1f}")
        table.add_row(job.name, *(job.given.get(name, "") for name in swept), *metrics, *cost)
    console = Console(file=sys.stdout)
    console.print(table)
    spent, seconds = sum(job.queries_spent for job in jobs), sum(job.seconds for job in jobs)
    console.print(f"The sweep made {spent:,} queries in {seconds:.0f} s of its jobs' time.", highlight=False)
    console.print(str(folder), soft_wrap=True, highlight=False, markup=False)


def cell(value: float | None, low: float | None, high: float | None) -> str:
    """A metric with its interval."""
    return "" if value is None or low is None or high is None else rf"{value:.3f} \[{low:.3f}, {high:.3f}]"
