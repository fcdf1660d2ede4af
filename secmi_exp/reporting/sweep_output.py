"""What a sweep writes and prints when it ends: all its jobs, and the comparison of those that can be compared."""

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from secmi_exp.errors import UserError
from secmi_exp.formatting import counted
from secmi_exp.reporting.artifacts import comparison_files, score_files
from secmi_exp.reporting.common_images import on_common_images
from secmi_exp.reporting.contests import find_contests
from secmi_exp.reporting.entries import read_entries
from secmi_exp.reporting.gate_report import decisions_of, gate_sentence, write_gate
from secmi_exp.reporting.ranking import Ranking, rank
from secmi_exp.reporting.ranking_figures import auc_label, draw_ranking_cost, draw_ranking_roc, ranking_title
from secmi_exp.reporting.run_folders import FinishedRun, read_sweep, swept_settings
from secmi_exp.reporting.sweep_figures import draw_search, draw_sweep, draw_tradeoff
from secmi_exp.reporting.sweep_tables import (
    choice,
    jobs_table,
    print_ranking,
    rank_by_validation,
    search_table,
    tradeoff_table,
)
from secmi_exp.reporting.table_files import TableRow, column_names, write_csv, write_parquet
from secmi_exp.reporting.terminal import terminal
from secmi_exp.run_warnings import RunWarning, grave_first
from secmi_exp.tracking.tracker import RunIdentity, start_tracker

log = logging.getLogger(__name__)

WANDB = "secmi_exp.tracking.logger.wandb_tracker"


def close_sweep(folder: Path, search: str | None = None) -> None:
    """Write summary.csv and what this kind of sweep has besides; print tables and, as the last line, the directory.

    Args:
        folder: the sweep's directory.
        search: what a search does with AUC, maximize or minimize; None for another sweep.
    """
    runs = read_sweep(folder)
    for run in runs.failed:
        if run.has_results:
            log.warning("Job %s is left out of the sweep's tables: %s", run.shown, run.reason)
    finished, failed = runs.finished, [run for run in runs.failed if run.failure]
    if not finished and not failed:
        return
    rows = [run.row() for run in finished]
    all_rows = [*rows, *(run.row() for run in failed)]
    write_csv(folder / "summary.csv", all_rows)
    write_parquet(folder / "summary.parquet", all_rows)
    console = terminal()
    if search:
        _present_search(finished, search, folder, console)
    elif finished:
        _present_jobs(finished, rows, folder, console)
    _print_warnings(finished, console)
    if failed:
        console.print(f"{len(failed)} of {counted(len(finished) + len(failed), 'job')} failed:")
    for each in failed:
        console.print(Text(f"  {each.shown}: {each.failure}"), soft_wrap=True)
    if decisions := decisions_of(runs):
        write_gate(folder, decisions)
        console.print(Text(gate_sentence(decisions)), soft_wrap=True)
    spent = sum(run.results.queries_spent for run in finished)
    seconds = sum(run.results.seconds for run in finished)
    console.print(f"The sweep made {spent:,} queries in {seconds:.0f} s of its jobs' time.")
    console.print(str(folder), soft_wrap=True)


def _present_search(runs: Sequence[FinishedRun], direction: str, folder: Path, console: Console) -> None:
    """Present the jobs by validation AUC alone, so that nobody chooses by the evaluation part, and then the choice."""
    if ranked := rank_by_validation(runs, direction):
        console.print(search_table(ranked))
        draw_search(folder / "sweep.png", ranked)
        console.print(choice(ranked), soft_wrap=True)


def _present_jobs(runs: Sequence[FinishedRun], rows: Sequence[TableRow], folder: Path, console: Console) -> None:
    """Print one table, of the comparison if there is one, and draw what was swept and measured."""
    if not _compare(runs, folder, console):
        console.print(jobs_table(runs))
    if len(runs) > 1:
        swept = swept_settings([run.overrides for run in runs])
        draw_sweep(folder / "sweep.png", rows, swept)
        draw_tradeoff(folder / "tradeoff.png", rows, swept)
        if table := tradeoff_table(rows, swept):
            console.print(table)


def _compare(runs: Sequence[FinishedRun], folder: Path, console: Console) -> bool:
    """Write, draw, print and track the comparison of the jobs; return False if none can be compared."""
    entries = read_entries(runs)
    for entry in entries:
        if entry.is_own and entry.scorer and not entry.evaluated:
            log.warning("Job %s is not compared, since %s.", entry.run.shown, entry.missing)
    rankings = []
    for contest in find_contests(on_common_images(entries)):
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
    figures = _draw_rankings(rankings, folder)
    for ranking in rankings:
        print_ranking(ranking, console)
    compared = {scoring.run.folder: scoring.run for ranking in rankings for scoring in ranking.contest.scorings}
    _track_comparison(list(compared.values()), folder, rows, figures)
    return True


def _draw_rankings(rankings: Sequence[Ranking], folder: Path) -> list[Path]:
    """Draw both figures of each ranking, numbered if there are several."""
    figures = []
    for number, ranking in enumerate(rankings, 1):
        suffix = f"_{number}" if len(rankings) > 1 else ""
        roc, cost = (folder / f"comparison_{name}{suffix}.png" for name in ("roc", "cost"))
        title = ranking_title("AUC and its cost", ranking)
        figures += [roc] * draw_ranking_roc(roc, ranking)
        figures += [cost] * draw_ranking_cost(cost, ranking.rows(), title, auc_label(ranking))
    return figures


def _track_comparison(runs: Sequence[FinishedRun], folder: Path, rows: Sequence[TableRow], figures: list[Path]) -> None:
    """Log the comparison as one more W&B run of the sweep's group, if its jobs log there by their configuration."""
    path = runs[0].folder / "config.yaml"
    config = OmegaConf.load(path) if path.is_file() else OmegaConf.create()
    if OmegaConf.select(config, "logger._target_") != WANDB or config.logger.mode == "disabled":
        return
    assert isinstance(config, DictConfig)
    identity = RunIdentity(
        folder=folder,
        name=f"comparison-{folder.name}",
        config={"attacks": [row["attack"] for row in rows], "sweep": str(folder)},
        group=OmegaConf.select(config, "group") or folder.name,
        job_type="comparison",
        tags=list(OmegaConf.select(config, "tags") or []),
    )
    tracker = start_tracker(lambda: instantiate(config.logger, _convert_="all")(identity))
    columns = column_names(rows)
    tracker.log_table("comparison", columns, [[row.get(name) for name in columns] for row in rows])
    tracker.log_figures(figures)
    if tracker.artifacts:
        scores = [
            score_files(run.folder, run.results.dataset, run.results.target, run.results.attack, run.results.seed)
            for run in runs
        ]
        tracker.log_artifacts(scores, [comparison_files(folder)])
    tracker.finish(failed=tracker.outage.happened)


def _print_warnings(runs: Sequence[FinishedRun], console: Console) -> None:
    """Print each warning of the jobs once, the grave ones first, with the jobs that it concerns."""
    concerned: dict[RunWarning, list[str]] = {}
    for run in runs:
        for warning in run.results.warnings or []:
            concerned.setdefault(warning, []).append(run.shown)
    for warning in grave_first(concerned):
        names = concerned[warning]
        jobs = "" if len(names) == len(runs) else f" (job{'s' * (len(names) > 1)} {', '.join(names)})"
        console.print(Text(f"{warning.heading}{jobs}: {warning.sentence}"), soft_wrap=True)
