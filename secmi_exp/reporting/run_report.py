"""What a run leaves: results, scores, figures, the table on the terminal, and what a tracker gets of them."""

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from secmi_exp.data.split import Part
from secmi_exp.evaluation.judge import Scored
from secmi_exp.quality.quality import Measures
from secmi_exp.reporting import figures
from secmi_exp.reporting.artifacts import score_files, split_files, target_files
from secmi_exp.reporting.drawing import only_shown
from secmi_exp.reporting.exposed import collection_facts, exposure_columns
from secmi_exp.reporting.provenance import attack_settings, provenance
from secmi_exp.reporting.results import Outcome, print_quality, print_table, print_warnings, write_results, write_scores
from secmi_exp.reporting.terminal import terminal
from secmi_exp.stages import Attacked, Run
from secmi_exp.store import Json
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.tracking.tracker import FileSet


def report(run: Run, target: PreparedTarget | None, attacked: Attacked | None, measures: Measures | None) -> Outcome:
    """Leave results, scores and figures in the run's directory, and then hand them to the tracker."""
    header = describe(run, target, attacked)
    if attacked:
        write_scores(
            run.folder,
            {
                "id": [run.images.ids[row] for row in run.split.attacked],
                "row": run.split.attacked,
                "is_member": run.split.is_member,
                "part": run.split.part.tolist(),
                **attacked.measured.numbers,
                **{f"score_{name}": values for name, values in attacked.scores.items()},
                **exposure_columns(run.split, attacked.scores[attacked.attack.name]),
            },
        )
    found = (attacked.judgements, attacked.bounds) if attacked else ({}, {})
    outcome = Outcome(header, *found, quality=measures, warnings=run.warnings)
    write_results(run.folder, outcome)
    pictures = show_samples(run, target) if target else []
    pictures += draw(run, attacked) if attacked else []
    track(run, attacked, measures, pictures)
    if run.tracker.artifacts:
        log_artifacts(run, header, target, attacked)
    return outcome


def track(run: Run, attacked: Attacked | None, measures: Measures | None, pictures: list[Path]) -> None:
    """Hand the results to the tracker."""
    if measures:
        run.tracker.log_summary({f"quality/{name}": value for name, value in measures.metrics.items()})
    run.tracker.log_summary({"warnings": len(run.warnings)})
    if attacked:
        run.tracker.log_attack(attacked.judgements, attacked.evaluated)
        if attacked.measured.trajectory and attacked.relative_t_error:
            run.tracker.log_t_errors(attacked.relative_t_error, judged_t_errors(run, attacked))
    run.tracker.log_figures(pictures)


def describe(run: Run, target: PreparedTarget | None, attacked: Attacked | None) -> dict[str, Json]:
    """The fields of results.json that tell what was run."""
    header: dict[str, Json] = {
        "attack": attacked.attack.name if attacked else None,
        "dataset": run.parts.dataset.name,
        "dataset_facts": run.parts.dataset.facts(run.images),
        "target": run.target_name,
        "target_folder": str(target.folder) if target else "",
        "defense": run.parts.defense.name,
        **(target.facts if target else {}),
        "split": run.split_facts,
        "seed": run.parts.general.seed,
        "timing_s": run.seconds,
        "warnings": [warning.as_json() for warning in run.warnings],
    }
    if attacked:
        measured, leading = attacked.measured, attacked.judgements[attacked.attack.name]
        header |= {
            "n_member": leading.n_member,
            "n_holdout": leading.n_holdout,
            "queries_per_sample": measured.queries_per_sample,
            "queries_spent": measured.queries_spent,
            **measured.facts,
            "collection": collection_facts(attacked.evaluated[attacked.attack.name]),
            "attack_settings": attack_settings(run.config),
        }
        if attacked.relative_t_error:
            header["relative_t_error"] = asdict(attacked.relative_t_error)
    header["provenance"] = provenance(run, target, attacked)
    return header


def draw(run: Run, attacked: Attacked) -> list[Path]:
    """Draw the figures of an attack, all on the evaluation part."""
    subject = f"{run.target_name}, {run.parts.dataset.name}"
    attack, split = attacked.attack, run.split
    judged = split.of_part(Part.EVALUATION)
    paths = [run.folder / f"{name}.png" for name in ("roc", "roc_log", "scores", "exposed")]
    figures.draw_roc(paths[0], attacked.evaluated, subject, logarithmic=False)
    figures.draw_roc(paths[1], attacked.evaluated, subject, logarithmic=True)
    leading = attack.name
    figures.draw_scores(paths[2], leading, attacked.evaluated[leading], attacked.judgements[leading], subject)
    rows, percentile = figures.extremes(attacked.scores[leading], judged, split.is_member)
    images = run.images.select(split.attacked[rows])[slice(None)]
    figures.draw_exposed(paths[3], images, percentile, split.is_member[rows], f"{leading}: {subject}")
    if attacked.measured.trajectory and (relative := attacked.relative_t_error):
        t_sec = int(str(attacked.measured.facts["t_sec"]))
        paths += [run.folder / "t_errors.png", run.folder / "relative_t_error.png"]
        figures.draw_t_errors(paths[-2], judged_t_errors(run, attacked), subject, t_sec)
        figures.draw_relative_t_error(paths[-1], relative, t_sec, subject)
    return [path for path in paths if path.is_file()]


def judged_t_errors(run: Run, attacked: Attacked) -> Scored:
    """The t-errors at t_sec of the evaluation part, of an attack that has measured a trajectory."""
    assert attacked.measured.trajectory
    judged = run.split.of_part(Part.EVALUATION)
    t_errors = attacked.measured.trajectory.t_error(int(str(attacked.measured.facts["t_sec"])))
    return Scored(t_errors[judged].astype(np.float64), run.split.is_member[judged])


def show_samples(run: Run, target: PreparedTarget) -> list[Path]:
    """Copy the sheet of samples that the target's training has left, where it has."""
    path = run.folder / "samples.png"
    return [path] if target.samples and copy_figure(path, target.samples) else []


@only_shown
def copy_figure(path: Path, source: Path) -> None:
    """Copy a figure from the store."""
    shutil.copyfile(source, path)


def log_artifacts(run: Run, header: dict[str, Json], target: PreparedTarget | None, attacked: Attacked | None) -> None:
    """Hand the files to the tracker: a run rests on its split and on a target that it has not trained itself."""
    used = [split_files(header, run.folder)]
    made: list[FileSet] = []
    if target and (model := target_files(header, target)):
        (made if target.trained_now else used).append(model)
    if attacked:
        made.append(score_files(header, run.folder))
    run.tracker.log_artifacts(used, made)


def present(outcome: Outcome, folder: Path) -> None:
    """End on the terminal: a table a person can read, then the directory as the last line."""
    console = terminal()
    if outcome.judgements:
        print_table(outcome, console)
    else:
        console.print(
            f"The target is trained and kept in {outcome.header['target_folder']}.\n"
            "Attack it by the same command with +attack=stat or +attack=nn; it will not be trained again.",
            soft_wrap=True,
        )
    if outcome.quality:
        print_quality(outcome.quality, console)
    print_warnings(outcome.warnings, console)
    console.print(str(folder), soft_wrap=True)
