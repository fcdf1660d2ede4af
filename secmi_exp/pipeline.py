"""A run, top to bottom: data → target → signal → scores → evaluation → report."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.scorer import LearnedScorer, Scorer, Scores
from secmi_exp.attacks.signal import Signals, trajectory_signals
from secmi_exp.components import Components
from secmi_exp.data.split import Part, Split
from secmi_exp.evaluation.judge import Judgement, Scored, judge
from secmi_exp.evaluation.roc import Roc
from secmi_exp.reporting import figures
from secmi_exp.reporting.results import Outcome, print_table, write_results, write_scores
from secmi_exp.reporting.tracking import RunIdentity, Tracker
from secmi_exp.runtime import Runtime
from secmi_exp.store import Json, Key, Store

log = logging.getLogger(__name__)


def run(config: DictConfig, folder: Path) -> Path:
    """Carry out one run.

    Args:
        config: composed by Hydra.
        folder: the run's directory, which exists.

    Returns:
        The run's directory, with results.json, the resolved config, and, after an attack, scores.parquet and figures.

    Raises:
        UserError: for anything that the user can mend.
    """
    seconds: dict[str, Json] = {}
    parts = Components.of(config)
    store = Store(Path(config.paths.store))
    with timed(seconds, "data"):
        images = parts.dataset.load()
        split = parts.split.split(len(images.images))
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")
    pl.seed_everything(config.seed, verbose=False)
    tracker = parts.make_tracker(identity(config, folder))
    try:
        with timed(seconds, "target"):
            members = images.images[split.members]
            target = parts.target.prepare(members, store, parts.runtime, tracker.lightning)
        pictures = [folder / "samples.png"]
        shutil.copyfile(target.folder / "samples.png", pictures[0])
        header: dict[str, Json] = {
            "attack": parts.attack.name if parts.attack else None,
            "dataset": parts.dataset.name,
            "target": parts.target.name,
            "target_folder": str(target.folder),
            "split": {
                "members": len(split.members),
                "holdouts": len(split.holdouts),
                "attacked": len(split.attacked),
                "attack_train": int(split.of_part(Part.FIT, Part.CALIBRATION).sum()),
                "evaluation": int(split.of_part(Part.EVALUATION).sum()),
            },
            "seed": config.seed,
            "timing_s": seconds,
        }
        if parts.attack is None:
            outcome = Outcome(header, {})
        else:
            attack = parts.attack
            with timed(seconds, "signal"):
                signals = trajectory_signals(
                    target,
                    images.images[split.attacked],
                    images.fingerprint(split.attacked),
                    k=attack.k,
                    t_max=attack.last,
                    maps=attack.kept_maps,
                    store=store,
                    runtime=parts.runtime,
                )
            with timed(seconds, "scores"):
                scores = score(attack, signals, split, store, parts.runtime, tracker)
            with timed(seconds, "evaluation"):
                judgements, evaluated = evaluate(attack, scores, split, config.evaluation.bootstrap_rounds, config.seed)
            header |= {
                "n_member": judgements[attack.name].n_member,
                "n_holdout": judgements[attack.name].n_holdout,
                "t_sec": attack.t_sec,
                "k": attack.k,
                "queries_per_sample": signals.queries_per_sample(attack.t_sec),
                "trajectory": {"timesteps": signals.timesteps, "queries_per_sample": signals.queries},
            }
            outcome = Outcome(header, judgements)
            with timed(seconds, "figures"):
                pictures += draw(folder, config, attack, signals, split, judgements, evaluated, tracker)
            write_scores(
                folder,
                {
                    "id": [images.ids[row] for row in split.attacked],
                    "row": split.attacked,
                    "is_member": split.is_member,
                    "part": split.part.tolist(),
                    "t_error": signals.t_error(attack.t_sec),
                    **{f"score_{name}": values for name, values in scores.items()},
                },
            )
            tracker.log_attack(judgements, evaluated)
        write_results(folder, outcome)
        tracker.log_figures(pictures)
    finally:
        tracker.finish()
    present(outcome, folder)
    return folder


@contextmanager
def timed(seconds: dict[str, Json], stage: str) -> Iterator[None]:
    """Record the wall time of a stage."""
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 3)


def identity(config: DictConfig, folder: Path) -> RunIdentity:
    """What a tracker shows of this run; the jobs of a sweep share a group."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    attack = config.attack.name if "attack" in config else "target"
    group = config.group
    if group is None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        group = folder.parent.name
    return RunIdentity(
        folder=folder,
        name=f"{attack}-{config.dataset.name}-{folder.name}",
        config=resolved,
        group=group,
        job_type=attack,
        tags=list(config.tags),
    )


def score(
    attack: Attack, signals: Signals, split: Split, store: Store, runtime: Runtime, tracker: Tracker
) -> dict[str, Scores]:
    """The membership scores of all attacked images by each scorer, the attack's own first."""
    fit_rows = np.flatnonzero(split.of_part(Part.FIT))
    names = sorted(attack.scorers, key=lambda name: name != attack.name)
    scores: dict[str, Scores] = {}
    for name in names:
        scorer = attack.scorers[name]
        if isinstance(scorer, Scorer):
            scores[name] = scorer.score(signals)
            continue
        key = fitted_key(scorer, signals, fit_rows, split, runtime)

        def fit(workspace: Path, scorer: LearnedScorer = scorer) -> None:
            is_member = split.is_member[fit_rows]
            fitted = scorer.fit_and_score(signals, fit_rows, is_member, workspace, runtime, tracker.lightning)
            np.save(workspace / "scores.npy", fitted)

        scores[name] = np.load(store.obtain(key, fit).path / "scores.npy")
    return scores


def fitted_key(
    scorer: LearnedScorer, signals: Signals, fit_rows: np.ndarray[Any, Any], split: Split, runtime: Runtime
) -> Key:
    """What decides a learned scorer's scores: settings, signals, and the rows and labels it was fitted on."""
    config: dict[str, Json] = {
        "scorer": type(scorer).__qualname__,
        **scorer.settings(),
        "precision": runtime.precision,
        "fit_rows": fit_rows.tolist(),
        "is_member": split.is_member[fit_rows].tolist(),
    }
    return Key("scores", scorer.version, config, {"signals": signals.digest})


def evaluate(
    attack: Attack, scores: dict[str, Scores], split: Split, rounds: int, seed: int
) -> tuple[dict[str, Judgement], dict[str, Scored]]:
    """Judge each scorer on the evaluation part; a threshold is calibrated where nothing was fitted."""
    judgements, evaluated = {}, {}
    for name, values in scores.items():
        learned = isinstance(attack.scorers[name], LearnedScorer)
        free = split.of_part(Part.CALIBRATION) if learned else split.of_part(Part.FIT, Part.CALIBRATION)
        judged = split.of_part(Part.EVALUATION)
        evaluated[name] = Scored(values[judged], split.is_member[judged])
        calibration = Scored(values[free], split.is_member[free])
        judgements[name] = judge(evaluated[name], calibration, rounds=rounds, seed=seed)
    return judgements, evaluated


def draw(
    folder: Path,
    config: DictConfig,
    attack: Attack,
    signals: Signals,
    split: Split,
    judgements: dict[str, Judgement],
    evaluated: dict[str, Scored],
    tracker: Tracker,
) -> list[Path]:
    """Draw the figures of an attack, all on the evaluation part."""
    subject = f"{config.target.name}, {config.dataset.name}"
    judged = split.of_part(Part.EVALUATION)
    paths = {name: folder / f"{name}.png" for name in ("roc", "roc_log", "t_errors", "relative_t_error", "scores")}
    figures.draw_roc(paths["roc"], judgements, subject, logarithmic=False)
    figures.draw_roc(paths["roc_log"], judgements, subject, logarithmic=True)
    t_errors = Scored(signals.t_error(attack.t_sec)[judged].astype(np.float64), split.is_member[judged])
    threshold, _ = Roc.of(-t_errors.scores, t_errors.is_member).best_threshold()
    figures.draw_t_errors(paths["t_errors"], t_errors, -threshold, subject, attack.t_sec)
    ratios = figures.relative_t_errors(signals, split.is_member, judged)
    figures.draw_relative_t_errors(paths["relative_t_error"], signals.timesteps, ratios, attack.t_sec, subject)
    tracker.log_t_errors(signals.timesteps, ratios, t_errors)
    figures.draw_scores(paths["scores"], attack.name, evaluated[attack.name], judgements[attack.name], subject)
    return list(paths.values())


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
    console.print(str(folder), soft_wrap=True, highlight=False, markup=False)
