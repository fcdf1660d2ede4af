"""What a run leaves when it ends: results, scores, figures, what its tracker gets, and a table on the terminal."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secmi_exp.data.copies import alike_rows
from secmi_exp.data.split import Part
from secmi_exp.evaluation.judge import Judgement
from secmi_exp.evaluation.one_run_audit import OneRunAudit
from secmi_exp.evaluation.privacy_bound import PrivacyBound
from secmi_exp.evaluation.scored import Scored
from secmi_exp.quality.measures import Measures
from secmi_exp.reporting import run_figures
from secmi_exp.reporting.artifacts import score_files, split_files, target_files
from secmi_exp.reporting.drawing import draws_or_logs
from secmi_exp.reporting.gate_report import decide_run, gate_sentence, write_gate
from secmi_exp.reporting.results_file import METRIC_NAMES, Estimate, subject
from secmi_exp.reporting.run_results import RunResults, describe_run, write_results, write_scores
from secmi_exp.reporting.terminal import terminal
from secmi_exp.run_state import AttackOutcome, Run
from secmi_exp.run_warnings import RunWarning, grave_first
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.tracking.tracker import FileSet


def write_run(
    run: Run, target: PreparedTarget | None, attacked: AttackOutcome | None, measures: Measures | None
) -> RunResults:
    """Write results, scores and figures into the run's directory, and then log them to the tracker."""
    results = RunResults(describe_run(run, target, attacked), quality=measures, warnings=run.warnings)
    if attacked:
        write_scores(run, attacked)
        results = replace(
            results,
            judgements=attacked.judgements,
            bounds=attacked.bounds,
            fitted=attacked.fitted,
            gate=decide_run(run, target, attacked),
        )
    write_results(run.folder, results)
    if results.gate:
        write_gate(run.folder, {"": results.gate})
        run.tracker.log_summary({"gate": str(results.gate.outcome)})
    run.store.delete_tallies()
    figures = _copy_samples(run, target) if target else []
    figures += _draw(run, attacked) if attacked else []
    figures += _draw_alike(run)
    _track(run, attacked, measures, figures)
    if run.tracker.artifacts:
        _track_artifacts(run, target, attacked)
    return results


def print_run(results: RunResults, folder: Path, *, stated: bool) -> None:
    """Print the metrics, the quality and the warnings of a run, and its directory as the last line.

    Args:
        results: of the run.
        folder: its directory.
        stated: whether somebody has stated who is a member, whose question is then whether these were used.
    """
    console = terminal()
    if results.judgements:
        print_metrics(results, console)
    else:
        console.print(
            f"The target is trained and kept in {results.header['target_folder']}.\n"
            "Attack it by the same command with +attack=stat or +attack=nn; it will not be trained again.",
            soft_wrap=True,
        )
    if results.quality:
        _print_quality(results.quality, console)
    _print_warnings(results.warnings, console)
    if results.gate:
        console.print(Text(gate_sentence({"": results.gate})), soft_wrap=True)
    if results.judgements and stated:
        console.print(Text(collection_sentences(results, folder)), soft_wrap=True)
    console.print(str(folder), soft_wrap=True)


def print_metrics(results: RunResults, console: Console) -> None:
    """Print metrics with their intervals, a column for each scorer, the best one first."""
    own = next(iter(results.judgements.values()))
    header = results.header
    title = (
        f"{header['attack']} on {subject(str(header['target']), str(header['dataset']))}: {own.n_member} members, "
        f"{own.n_holdout} hold-outs, {header['queries_per_sample']} queries a sample"
    )
    table = Table(title=Text(title, style="table.title"), title_justify="left")
    table.add_column("metric [95% interval]")
    best = best_scorer(results.judgements)
    judgements = {best: results.judgements[best]} | dict(results.judgements)
    for name in judgements:
        table.add_column(Text(name), justify="right")
    for metric in sorted(own.metrics, key=[*METRIC_NAMES, *own.metrics].index):
        label = METRIC_NAMES.get(metric, metric)
        table.add_row(*map(Text, (label, *(_cell(judged, metric) for judged in judgements.values()))))
    console.print(table)
    if len(judgements) > 1:
        console.print(Text(f"{best} has the highest AUC: scores.png and exposed.png show its scores."), soft_wrap=True)
    for name, facts in results.fitted.items():
        console.print(Text(f"{name}: {facts['summary']}"), soft_wrap=True)
    for reason in dict.fromkeys(own.unresolved.values()):
        console.print(Text(f"Not resolved: {reason}."))
    name = next(iter(results.judgements))  # not the best one here, whose bound would be too high by that choice
    bound = results.bounds.get(name)
    if bound and bound.audit:
        console.print(Text(audit_sentence(name, bound, bound.audit)), soft_wrap=True)


def audit_sentence(name: str, bound: PrivacyBound, audit: OneRunAudit) -> str:
    """Return what a scorer's most confident guesses say of ε, and what that assumes."""
    gaussian = (
        f" ({audit.gaussian_epsilon:.2f} if its noise is Gaussian, as in DP-SGD)"
        if math.isfinite(audit.gaussian_epsilon)
        else ""
    )
    return (
        f"Lower bound on the training's privacy parameter ε, by {name}: {audit.epsilon:.2f}{gaussian}; "
        f"δ = {bound.delta:g}, {bound.confidence:.0%} confidence each. {audit.correct} of the {audit.guesses.count} "
        f"most confident guesses about {audit.samples} images are right. {bound.membership.assumption}"
    )


def collection_sentences(results: RunResults, folder: Path) -> str:
    """Return whether the members as a whole were used, unless the figures don't tell, and where more of it is."""
    page = f"python -m secmi_exp.report {quote(str(folder))} --for owner"
    written = f"`{page}` writes the answer as a page."
    if any(warning.grave for warning in results.warnings):
        return written
    collection = results.header["collection"]
    assert isinstance(collection, dict)
    return (
        f"Collection: p = {collection['p_mann_whitney']:.2g}, which is how likely a result like this is if the model "
        f"had not seen the members; scores.parquet has p_value and q_value of each image. {written}"
    )


def _cell(judged: Judgement, metric: str) -> str:
    value, interval = judged.metrics[metric], judged.ci95[metric]
    return "not resolved" if value is None or interval is None else str(Estimate(value, *interval))


def _print_quality(quality: Measures, console: Console) -> None:
    estimates = {name: Estimate(value, *(quality.ci95[name] or ())) for name, value in quality.metrics.items()}
    listed = ", ".join(f"{name.replace('_', ' ')} {estimate}" for name, estimate in estimates.items())
    console.print(Text(f"The target's quality: {listed}."), soft_wrap=True)


def _print_warnings(warnings: Sequence[RunWarning], console: Console) -> None:
    """Print one line a warning, the grave ones first."""
    for warning in grave_first(warnings):
        console.print(Text(f"{warning.heading}: ", style="bold") + Text(warning.sentence), soft_wrap=True)


def _copy_samples(run: Run, target: PreparedTarget) -> list[Path]:
    """Copy the sheet of samples from the target's training, if there is one."""
    path = run.folder / "samples.png"
    return [path] if target.samples and _copy_figure(path, target.samples) else []


@draws_or_logs
def _copy_figure(path: Path, source: Path) -> None:
    shutil.copyfile(source, path)


def _draw(run: Run, attacked: AttackOutcome) -> list[Path]:
    """Draw the figures of an attack on the evaluation part; return those that could be drawn.

    Those of one scorer are the best one's.
    """
    named, split = subject(run.target_name, run.parts.dataset.name), run.split
    best = best_scorer(attacked.judgements)
    paths = [run.folder / f"{name}.png" for name in ("roc", "roc_log", "scores")]
    run_figures.draw_roc(paths[0], attacked.evaluated, named, logarithmic=False)
    run_figures.draw_roc(paths[1], attacked.evaluated, named, logarithmic=True)
    run_figures.draw_scores(paths[2], best, attacked.evaluated[best], attacked.judgements[best], named)
    if run.images.has_pixels:
        rows, percentile = run_figures.extremes(attacked.scores[best], split.of_part(Part.EVALUATION), split.is_member)
        images = run.images.select(split.attacked[rows])[slice(None)]
        paths.append(run.folder / "exposed.png")
        run_figures.draw_exposed(paths[-1], images, percentile, split.is_member[rows], f"{best}: {named}")
    if (t_errors := _judged_t_errors(run, attacked)) and (relative := attacked.relative_t_error):
        t_sec = _t_sec(attacked)
        paths.append(run.folder / "t_errors.png")
        run_figures.draw_t_errors(paths[-1], t_errors, named, t_sec)
        if len(relative.timesteps) > 1:
            paths.append(run.folder / "relative_t_error.png")
            run_figures.draw_relative_t_error(paths[-1], relative, t_sec, named)
    return [path for path in paths if path.is_file()]


def _draw_alike(run: Run) -> list[Path]:
    """Draw images that look alike, if there are any."""
    groups = alike_rows(run.split, run.images, run.near) if run.near and not run.near.untold else []
    if not groups:
        return []
    shown = [group[: run_figures.SHOWN] for group in groups[: run_figures.GROUPS]]
    images = [run.images.select(group)[slice(None)] for group in shown]
    sides = [np.isin(group, run.split.members) for group in shown]
    path = run.folder / "near_duplicates.png"
    run_figures.draw_near_duplicates(path, images, sides, [len(group) for group in groups], run.parts.dataset.name)
    return [path] if path.is_file() else []


def best_scorer(judgements: Mapping[str, Judgement]) -> str:
    """Return the scorer with the highest AUC, the attack's own of equals."""
    return max(judgements, key=lambda name: judgements[name].metrics["auc"] or 0.0)


def _judged_t_errors(run: Run, attacked: AttackOutcome) -> Scored | None:
    """Return the t-errors of the evaluation part at t_sec; None for an attack that measures no trajectory."""
    if attacked.measured.trajectory is None:
        return None
    judged = run.split.of_part(Part.EVALUATION)
    t_errors = attacked.measured.trajectory.t_error(_t_sec(attacked))
    return Scored(t_errors[judged].astype(np.float64), run.split.is_member[judged])


def _t_sec(attacked: AttackOutcome) -> int:
    return int(str(attacked.measured.facts["t_sec"]))


def _track(run: Run, attacked: AttackOutcome | None, measures: Measures | None, figures: list[Path]) -> None:
    if measures:
        run.tracker.log_summary({f"quality/{name}": value for name, value in measures.metrics.items()})
    run.tracker.log_summary({"warnings": len(run.warnings)})
    if attacked:
        run.tracker.log_attack(attacked.judgements, attacked.evaluated)
        if (t_errors := _judged_t_errors(run, attacked)) and attacked.relative_t_error:
            run.tracker.log_t_errors(attacked.relative_t_error, t_errors)
    run.tracker.log_figures(figures)


def _track_artifacts(run: Run, target: PreparedTarget | None, attacked: AttackOutcome | None) -> None:
    """Log split, target and scores; a target that was stored before is an input of the run."""
    dataset, seed = run.parts.dataset.name, run.parts.general.seed
    used = [split_files(run.folder, dataset)]
    made: list[FileSet] = []
    if target and (model := target_files(target, dataset, run.target_name, run.parts.defense.name)):
        (made if target.trained_now else used).append(model)
    if attacked:
        made.append(score_files(run.folder, dataset, run.target_name, attacked.attack.name, seed))
    run.tracker.log_artifacts(used, made)
