"""What a sweep leaves of the comparison of its jobs: tables, figures, and a run at Weights & Biases."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from secmi_exp.errors import UserError
from secmi_exp.reporting.artifacts import comparison_files, score_files
from secmi_exp.reporting.comparison_figures import (
    comparison_title,
    draw_comparison_cost,
    draw_comparison_roc,
    interval_title,
)
from secmi_exp.reporting.comparison_table import print_comparison
from secmi_exp.reporting.contests import contests
from secmi_exp.reporting.jobs import Job
from secmi_exp.reporting.row_files import Row, column_names, write_csv, write_parquet
from secmi_exp.reporting.standings import Ranking, rank
from secmi_exp.tracking.tracker import RunIdentity, start_tracker

log = logging.getLogger(__name__)

WANDB = "secmi_exp.tracking.tracker.wandb_tracker"


def compare_jobs(jobs: Sequence[Job], folder: Path, console: Console) -> bool:
    """Compare those jobs of a sweep that can be compared.

    Args:
        jobs: that have ended.
        folder: the sweep's directory; gets comparison.csv, .parquet, comparison_pairs.csv and figures.
        console: gets a table for each contest.

    Returns:
        Whether there was anything to compare.
    """
    rankings = []
    for contest in contests(jobs):
        try:
            rankings.append(rank(contest))
        except UserError as error:
            log.warning("%s", error)
    if not rankings:
        return False
    rows = [row for ranking in rankings for row in ranking.rows()]
    write_csv(folder / "comparison.csv", rows)
    write_parquet(folder / "comparison.parquet", rows)
    if pairs := [row for ranking in rankings for row in ranking.pair_rows()]:
        write_csv(folder / "comparison_pairs.csv", pairs)
    figures = draw(rankings, folder)
    for ranking in rankings:
        print_comparison(ranking, console)
    compared = {run.job.folder: run.job for ranking in rankings for run in ranking.contest.scorings}
    track(list(compared.values()), folder, rows, figures)
    return True


def draw(rankings: Sequence[Ranking], folder: Path) -> list[Path]:
    """Both figures of each contest, numbered where there are several."""
    figures = []
    for number, ranking in enumerate(rankings, 1):
        suffix = f"_{number}" if len(rankings) > 1 else ""
        roc, cost = (folder / f"comparison_{name}{suffix}.png" for name in ("roc", "cost"))
        title = comparison_title("AUC and its cost", ranking)
        figures += [roc] * draw_comparison_roc(roc, ranking)
        figures += [cost] * draw_comparison_cost(cost, ranking.rows(), title, interval_title(ranking))
    return figures


def track(jobs: Sequence[Job], folder: Path, rows: Sequence[Row], figures: list[Path]) -> None:
    """Log the comparison as one more W&B run of the sweep's group, where its jobs log there.

    Args:
        jobs: those compared; the first one's configuration says where to.
        folder: the sweep's directory.
        rows: of comparison.csv.
        figures: as drawn.
    """
    path = jobs[0].folder / "config.yaml"
    config = OmegaConf.load(path) if path.is_file() else OmegaConf.create()
    if OmegaConf.select(config, "logger._target_") != WANDB or config.logger.mode == "disabled":
        return
    assert isinstance(config, DictConfig)
    tracker = start_tracker(lambda: instantiate(config.logger, _convert_="all")(_identity(config, folder, rows)))
    tracker.log_table("comparison", column_names(rows), [list(_filled(row, rows).values()) for row in rows])
    tracker.log_figures(figures)
    if tracker.artifacts:
        scores = [score_files(job.results, job.folder) for job in jobs]
        tracker.log_artifacts(scores, [comparison_files(folder)])
    tracker.finish(failed=tracker.outage.happened)


def _identity(config: DictConfig, folder: Path, rows: Sequence[Row]) -> RunIdentity:
    return RunIdentity(
        folder=folder,
        name=f"comparison-{folder.name}",
        config={"attacks": [row["attack"] for row in rows], "sweep": str(folder)},
        group=OmegaConf.select(config, "group") or folder.name,
        job_type="comparison",
        tags=list(OmegaConf.select(config, "tags") or []),
    )


def _filled(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    return {name: row.get(name) for name in column_names(rows)}
