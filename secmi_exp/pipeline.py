"""A run, top to bottom: data → target → signal → scores → evaluation → report."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from secmi_exp.attacks.attack import Attack, TargetFree
from secmi_exp.attacks.measured import Measured
from secmi_exp.attacks.scorer import Fitting, LearnedScorer, Scorer, Scores
from secmi_exp.components import Components, General
from secmi_exp.data.images import ImageSet
from secmi_exp.data.split import Part, Split, split_facts
from secmi_exp.evaluation.judge import Judgement, Scored, judge
from secmi_exp.evaluation.privacy_bound import PrivacyBound, bound_calibrated
from secmi_exp.evaluation.relative_t_error import RelativeTError, relative_t_error
from secmi_exp.quality.quality import Measures, Quality
from secmi_exp.reporting import figures
from secmi_exp.reporting.artifacts import FileSet, score_files, split_files, target_files
from secmi_exp.reporting.exposed import collection_facts, exposure_columns
from secmi_exp.reporting.results import Outcome, print_quality, print_table, write_results, write_scores
from secmi_exp.reporting.tracking import RunIdentity, Tracker
from secmi_exp.split_check import check_split, refuse_drawn_membership, refuse_other_membership
from secmi_exp.store import Json, Key, Store
from secmi_exp.targets.interface import PreparedTarget

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What the stages of one run share."""

    config: DictConfig
    folder: Path
    parts: Components
    store: Store
    images: ImageSet
    split: Split
    split_facts: dict[str, Json]
    """What results.json tells of the split."""
    tracker: Tracker
    seconds: dict[str, Json]
    """Wall time by stage, filled as the run goes on."""

    @property
    def target_name(self) -> str:
        """As tables and figures call what was attacked."""
        return "none" if isinstance(self.parts.attack, TargetFree) else self.parts.target.name


@dataclass(frozen=True)
class Attacked:
    """What an attack gave."""

    attack: Attack
    measured: Measured
    scores: dict[str, Scores]
    """Scorer → scores of all attacked images, the attack's own scorer first."""
    judgements: dict[str, Judgement]
    evaluated: dict[str, Scored]
    """Scorer → what it was judged on."""
    bounds: dict[str, PrivacyBound]
    """Scorer → the ε that its decisions refute."""
    relative_t_error: RelativeTError | None
    """Of SecMI."""


def run(config: DictConfig, folder: Path) -> float | None:
    """Carry out one run.

    Args:
        config: composed by Hydra.
        folder: the run's directory, which exists; gets results.json, the resolved config, and, after an attack,
            scores.parquet and figures.

    Returns:
        What a search goes by: the attack's validation AUC. None without an attack.

    Raises:
        UserError: for anything that the user can mend.
    """
    seconds: dict[str, Json] = {}
    parts = Components.of(config)
    store = Store(Path(config.paths.store))
    with timed(seconds, "data"):
        images = parts.dataset.load(store, progress_bar=parts.runtime.progress_bar)
        split = parts.split.split(images)
        facts = split_facts(split, images)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")
    split.save(folder / "split.npz")
    tracker = parts.make_tracker(identity(config, parts.general, folder))
    current = Run(config, folder, parts, store, images, split, facts, tracker, seconds)
    failed = True
    try:
        target = None if isinstance(parts.attack, TargetFree) else prepare_target(current)
        attacked = attack_images(current, parts.attack, target) if parts.attack else None
        if attacked and parts.general.evaluation.blind:
            with timed(seconds, "split_check"):
                attacked_images = images.select(split.attacked)
                facts["blind"] = check_split(attacked_images, split.is_member, parts.general.seed, store)
        measures = measure_quality(current, parts.quality, target) if parts.quality and target else None
        outcome = report(current, target, attacked, measures)
        failed = False
    finally:
        tracker.finish(failed=failed)
    present(outcome, folder)
    return attacked.judgements[attacked.attack.name].validation.auc if attacked else None


def prepare_target(run: Run) -> PreparedTarget:
    """Train it on the members, or have it as it is."""
    with timed(run.seconds, "target"):
        members = run.images.select(run.split.members)
        target = run.parts.target.prepare(members, run.store, run.parts.runtime, run.tracker.lightning)
    refuse_drawn_membership(run.split, target, members)
    return target


def attack_images(run: Run, attack: Attack, target: PreparedTarget | None) -> Attacked:
    """Signal, scores, evaluation; the target is None for attacks that ask none."""
    images = run.images.select(run.split.attacked)
    with timed(run.seconds, "signal"):
        if isinstance(attack, TargetFree):
            refuse_other_membership(attack, images, run.split)
            measured = attack.look(images)
        else:
            assert target is not None
            measured = attack.measure(target, images, run.store, run.parts.runtime)
    with timed(run.seconds, "scores"):
        scores = score(run, attack, measured)
    with timed(run.seconds, "evaluation"):
        judgements, evaluated, bounds = evaluate(run, attack, scores)
        judged, signals = run.split.of_part(Part.EVALUATION), measured.trajectory
        is_member = run.split.is_member[judged]
        relative = relative_t_error(signals.timesteps, signals.t_errors[judged], is_member) if signals else None
    return Attacked(attack, measured, scores, judgements, evaluated, bounds, relative)


def measure_quality(run: Run, quality: Quality, target: PreparedTarget) -> Measures:
    """How good the target is, on all images that an attack gets."""
    images, timesteps = run.images.select(run.split.attacked), run.parts.target.timesteps
    with timed(run.seconds, "quality"):
        return quality.measure(target, timesteps, images, run.split.is_member, run.store, run.parts.runtime)


def report(run: Run, target: PreparedTarget | None, attacked: Attacked | None, measures: Measures | None) -> Outcome:
    """Leave results, scores and figures in the run's directory, and hand them to the tracker."""
    pictures = []
    if target and target.samples:
        pictures.append(run.folder / "samples.png")
        shutil.copyfile(target.samples, pictures[0])
    header = describe(run, target, attacked)
    if measures:
        run.tracker.log_summary({f"quality/{name}": value for name, value in measures.metrics.items()})
    if attacked:
        with timed(run.seconds, "figures"):
            pictures += draw(run, attacked)
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
        run.tracker.log_attack(attacked.judgements, attacked.evaluated)
    found = (attacked.judgements, attacked.bounds) if attacked else ({}, {})
    outcome = Outcome(header, *found, quality=measures)
    write_results(run.folder, outcome)
    run.tracker.log_figures(pictures)
    if run.tracker.artifacts:
        log_artifacts(run, header, target, attacked)
    return outcome


def log_artifacts(run: Run, header: dict[str, Json], target: PreparedTarget | None, attacked: Attacked | None) -> None:
    """Hand the files to the tracker: a run rests on its split and on a target that it has not trained itself."""
    used = [split_files(header, run.folder)]
    made: list[FileSet] = []
    if target and (model := target_files(header, target)):
        (made if target.trained_now else used).append(model)
    if attacked:
        made.append(score_files(header, run.folder))
    run.tracker.log_artifacts(used, made)


def describe(run: Run, target: PreparedTarget | None, attacked: Attacked | None) -> dict[str, Json]:
    """The fields of results.json that tell what was run."""
    header: dict[str, Json] = {
        "attack": attacked.attack.name if attacked else None,
        "dataset": run.parts.dataset.name,
        "target": run.target_name,
        "target_folder": str(target.folder) if target else "",
        "defense": run.parts.defense.name,
        **(target.facts if target else {}),
        "split": run.split_facts,
        "seed": run.parts.general.seed,
        "timing_s": run.seconds,
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
        }
        if attacked.relative_t_error:
            header["relative_t_error"] = asdict(attacked.relative_t_error)
    return header


@contextmanager
def timed(seconds: dict[str, Json], stage: str) -> Iterator[None]:
    """Record the wall time of a stage."""
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 3)


def identity(config: DictConfig, general: General, folder: Path) -> RunIdentity:
    """What a tracker shows of this run; the jobs of a sweep share a group."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    attack = config.attack.name if "attack" in config else "target"
    group = general.group
    if group is None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        group = folder.parent.name
    return RunIdentity(
        folder=folder,
        name=f"{attack}-{config.dataset.name}-{folder.name}",
        config=resolved,
        group=group,
        job_type=attack,
        tags=general.tags,
    )


def score(run: Run, attack: Attack, measured: Measured) -> dict[str, Scores]:
    """The membership scores of all attacked images by each scorer, the attack's own first."""
    split, runtime = run.split, run.parts.runtime
    fit_rows = np.flatnonzero(split.of_part(Part.FIT))
    is_member = split.is_member[fit_rows]
    scores: dict[str, Scores] = {}
    for name in sorted(attack.scorers, key=lambda name: name != attack.name):
        scorer = attack.scorers[name]
        if isinstance(scorer, Scorer):
            scores[name] = scorer.score(measured)
            continue
        config: dict[str, Json] = {
            "scorer": type(scorer).__qualname__,
            **scorer.settings(),
            "precision": runtime.precision,
            "fit_rows": fit_rows.tolist(),
            "is_member": is_member.tolist(),
        }
        key = Key("scores", scorer.version, config, {"measured": measured.digest})

        def fit(workspace: Path, scorer: LearnedScorer = scorer) -> None:
            fitting = Fitting(fit_rows, is_member, workspace, runtime, run.tracker.lightning)
            np.save(workspace / "scores.npy", scorer.fit_and_score(measured, fitting))

        scores[name] = np.load(run.store.obtain(key, fit).path / "scores.npy")
    return scores


def evaluate(
    run: Run, attack: Attack, scores: dict[str, Scores]
) -> tuple[dict[str, Judgement], dict[str, Scored], dict[str, PrivacyBound]]:
    """Judge each scorer on the evaluation part; a threshold is calibrated where nothing was fitted."""
    split, settings = run.split, run.parts.general.evaluation
    judged = split.of_part(Part.EVALUATION)
    judgements, evaluated, bounds = {}, {}, {}
    for name, values in scores.items():
        learned = isinstance(attack.scorers[name], LearnedScorer)
        free = split.of_part(Part.CALIBRATION) if learned else split.of_part(Part.FIT, Part.CALIBRATION)
        evaluated[name] = Scored(values[judged], split.is_member[judged])
        calibration = Scored(values[free], split.is_member[free])
        judgements[name] = judge(
            evaluated[name],
            calibration,
            rounds=settings.bootstrap_rounds,
            seed=run.parts.general.seed,
            low_fprs=settings.low_fprs,
        )
        bounds[name] = bound_calibrated(evaluated[name], calibration, delta=settings.delta)
    return judgements, evaluated, bounds


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
    if (signals := attacked.measured.trajectory) and (relative := attacked.relative_t_error):
        t_sec = int(str(attacked.measured.facts["t_sec"]))
        paths += [run.folder / "t_errors.png", run.folder / "relative_t_error.png"]
        t_errors = Scored(signals.t_error(t_sec)[judged].astype(np.float64), split.is_member[judged])
        figures.draw_t_errors(paths[-2], t_errors, subject, t_sec)
        figures.draw_relative_t_error(paths[-1], relative, t_sec, subject)
        run.tracker.log_t_errors(relative, t_errors)
    return paths


def present(outcome: Outcome, folder: Path) -> None:
    """End on the terminal: a table a person can read, then the directory as the last line."""
    console = Console(file=sys.stdout)
    if outcome.judgements:
        print_table(outcome, console)
    else:
        console.print(
            f"The target is trained and kept in {outcome.header['target_folder']}.\n"
            "Attack it by the same command with +attack=stat or +attack=nn; it will not be trained again.",
            soft_wrap=True,
            highlight=False,
        )
    if outcome.quality:
        print_quality(outcome.quality, console)
    console.print(str(folder), soft_wrap=True, highlight=False, markup=False)
