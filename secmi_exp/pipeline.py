"""A run, top to bottom: data → target → signal → scores → evaluation → report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from secmi_exp.attacks.attack import Attack, TargetFree
from secmi_exp.attacks.finite_values import refuse_non_finite_scores, refuse_non_finite_values
from secmi_exp.attacks.measurements import Measurements
from secmi_exp.attacks.scorers.scorer import FACTS, Fitting, LearnedScorer, Scorer, Scores
from secmi_exp.configuration.components import Components
from secmi_exp.configuration.general import General
from secmi_exp.configuration.preparation import Preparation, prepare
from secmi_exp.data.checks.condition_check import check_conditions, condition_facts
from secmi_exp.data.checks.sample_sizes import check_sizes, learned_scorers
from secmi_exp.data.checks.split_check import (
    check_order,
    check_split,
    refuse_drawn_membership,
    refuse_other_membership,
    trained_rows,
    uncheckable,
)
from secmi_exp.data.copies import copies_facts, near_duplicate_facts
from secmi_exp.data.images import ImageSet
from secmi_exp.data.near_duplicates import NearDuplicates
from secmi_exp.data.similar_images import Similarity, find_alike
from secmi_exp.data.split import Part, Split, split_facts
from secmi_exp.evaluation.judge import Judgement, judge
from secmi_exp.evaluation.one_run_audit import Membership
from secmi_exp.evaluation.privacy_bound import PrivacyBound, privacy_bound
from secmi_exp.evaluation.relative_t_error import relative_t_error
from secmi_exp.evaluation.scored import Scored
from secmi_exp.files.storage_errors import explain_storage_errors, output_place
from secmi_exp.files.strict_json import Json, as_strict_json
from secmi_exp.formatting import unicode_name
from secmi_exp.quality.measures import Measures
from secmi_exp.quality.quality import Quality
from secmi_exp.reporting.provenance import code_state
from secmi_exp.reporting.run_output import print_run, write_run
from secmi_exp.run_state import AttackOutcome, Run, timed
from secmi_exp.run_warnings import RunWarning, collect_warnings, warn
from secmi_exp.store import Key, Store
from secmi_exp.store.class_identity import class_identity, outside_classes
from secmi_exp.store.listed import listed
from secmi_exp.surrogates import judge_surrogates, load_images
from secmi_exp.targets.interface import PreparedTarget
from secmi_exp.tracking.tracker import RunIdentity, start_tracker


def run(config: DictConfig, folder: Path, *, shown: bool = True) -> float | None:
    """Carry out one run.

    Args:
        config: composed by Hydra.
        folder: the run's directory, which exists; gets results.json, the resolved config, and, after an attack,
            scores.parquet and figures.
        shown: whether the results are printed.

    Returns:
        What a search goes by: the attack's validation AUC. None without an attack, or without an attack-train part.

    Raises:
        UserError: for anything that the user can mend.
    """
    with collect_warnings() as warnings:
        return run_stages(prepare(config), config, folder, warnings, shown=shown)


def run_stages(
    prepared: Preparation, config: DictConfig, folder: Path, warnings: list[RunWarning], *, shown: bool
) -> float | None:
    """The stages of `run`; ``warnings`` grows as they go on."""
    seconds: dict[str, Json] = {}
    parts, store = prepared.parts, prepared.store
    with timed(seconds, "data"):
        images, split, near = split_images(parts, load_images(parts, store), store)
        queried = () if isinstance(parts.attack, TargetFree) else parts.target.conditions
        facts = split_facts(split, images) | condition_facts(split, images, queried)
        if parts.canaries:
            facts["canaries"] = parts.canaries.facts(split)
    with explain_storage_errors(output_place(folder)):
        (folder / "config.yaml").write_text(prepared.resolved, encoding="utf-8")
        split.save(folder / "split.npz")
    tracker = start_tracker(lambda: parts.make_tracker(identity(config, parts.general, folder)))
    current = Run(config, folder, parts, store, images, split, facts, tracker, seconds, warnings, code_state(), near)
    failed = True
    try:
        target = None if isinstance(parts.attack, TargetFree) else prepare_target(current)
        if images.has_pixels:
            facts |= copies_facts(split, images, trained_rows(split, images, target))
        if near:
            facts["near_duplicates"] = near_duplicate_facts(
                split, images, near, grouped=parts.split.near_duplicates == "group"
            )
        attacked = attack_images(current, parts.attack, target) if parts.attack else None
        if attacked:
            facts |= check_sides(current, target)
        if parts.quality and not target:
            warn("quality_left_out", "The attack queries no target, so quality is left out.")
        measures = measure_quality(current, parts.quality, target) if parts.quality and target else None
        results = write_run(current, target, attacked, measures)
        failed = False
    finally:
        tracker.finish(failed=failed)
    if shown:
        print_run(results, folder, stated=not split.drawn)
    validation = attacked.judgements[attacked.attack.name].validation if attacked else None
    return validation.auc if validation else None


def split_images(parts: Components, images: ImageSet, store: Store) -> tuple[ImageSet, Split, NearDuplicates | None]:
    """Split the images, with canaries among them where there are any, and find those that look alike.

    Raises:
        UserError: for sides that are too small, and sizes that the attack can't do with.
    """
    rule, near = parts.split, None
    if rule.near_duplicates != "off" and images.has_pixels:
        similarity = Similarity(rule.inception, rule.similarity) if rule.inception else None
        near = find_alike(images, store, parts.runtime, similarity)
    split = rule.split(images, near.alike if near and rule.near_duplicates == "group" else None)
    if parts.canaries:
        fitted = bool(parts.attack and learned_scorers(parts.attack))
        images, split = parts.canaries.insert(images, split, fitted=fitted)
        near = None  # it is canaries that are judged
    if parts.attack:
        check_sizes(parts.attack, split, parts.split)
    return images, split, near


def prepare_target(run: Run) -> PreparedTarget:
    """Train the target on the members, or load one that was trained before or elsewhere.

    Raises:
        UserError: before anything is trained, for captions and class labels that it can't be queried with; see
            `check_conditions`.
    """
    recipe = run.parts.target
    if run.parts.attack or run.parts.quality:
        check_conditions(recipe, run.split, run.images, run.parts.dataset)
    with timed(run.seconds, "target"):
        members = run.images.select(run.split.members)
        target = recipe.prepare(members, run.store, run.parts.runtime, run.tracker.lightning)
    refuse_drawn_membership(run.split, target, members)
    return target.kept() if jobs_follow() or run.parts.quality else target


def jobs_follow() -> bool:
    """Whether other jobs run in this process after this one: those of a sweep with Hydra's own launcher."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return str(HydraConfig.get().launcher["_target_"]).endswith(".BasicLauncher")


def check_sides(run: Run, target: PreparedTarget | None) -> Mapping[str, Json]:
    """Whether all that a query depends on, the target apart, tells members from hold-outs.

    Warns where nothing has checked it, unless that was asked for of sides that were drawn, and differ by chance alone.
    """
    rows, wanted = run.split.attacked, run.parts.general.evaluation.blind
    if run.split.drawn and not wanted:
        return {}
    reason = uncheckable(run.images, run.split.is_member) if wanted else "evaluation.blind=false leaves the check out"
    if reason:
        warn("split_not_checked", f"Nothing has checked whether the sides differ in more than membership: {reason}.")
        return {"blind": None} if wanted else {}
    with timed(run.seconds, "split_check"):
        images = run.images.select(rows)
        texts = target.inputs(images, run.store, run.parts.runtime).texts() if target else {}
        sizes = None if run.images.sizes is None else run.images.sizes[rows]
        return {"blind": check_split(images, run.split.is_member, run.parts.general.seed, run.store, texts, sizes)}


def attack_images(run: Run, attack: Attack, target: PreparedTarget | None) -> AttackOutcome:
    """Measure, score and evaluate; the target is None for attacks that query none."""
    images = run.images.select(run.split.attacked)
    with timed(run.seconds, "signal"):
        if isinstance(attack, TargetFree):
            refuse_other_membership(attack, images, run.split)
            measured = attack.measure_images(images)
        else:
            assert target is not None
            measured = attack.measure(target, images, run.store, run.parts.runtime)
        refuse_non_finite_values(f"attack={attack.name}", measured, images, target, run.store, run.parts.runtime)
    with timed(run.seconds, "scores"):
        scores, fitted = score(run, attack, measured)
        refuse_non_finite_scores(scores)
    with timed(run.seconds, "evaluation"):
        judgements, evaluated, bounds = evaluate(run, attack, scores)
        judged, signals = run.split.of_part(Part.EVALUATION), measured.trajectory
        is_member = run.split.is_member[judged]
        relative = relative_t_error(signals.timesteps, signals.t_errors[judged], is_member) if signals else None
        surrogates = judge_surrogates(run, attack, target, scores[attack.name])
        if not surrogates:
            check_order(attack, evaluated[attack.name])
    return AttackOutcome(attack, measured, scores, fitted, judgements, evaluated, bounds, relative, surrogates)


def score(run: Run, attack: Attack, measured: Measurements) -> tuple[dict[str, Scores], dict[str, Mapping[str, Json]]]:
    """Scores of all attacked images by each scorer, the attack's own first, and what their fitting recorded."""
    split, runtime = run.split, run.parts.runtime
    fit_rows = np.flatnonzero(split.of_part(Part.FIT))
    is_member = split.is_member[fit_rows]
    scores: dict[str, Scores] = {}
    fitted: dict[str, Mapping[str, Json]] = {}
    for name in sorted(attack.scorers, key=lambda name: name != attack.name):
        scorer = attack.scorers[name]
        if isinstance(scorer, Scorer):
            scores[name] = scorer.score(measured)
            continue
        config: dict[str, Json] = {
            "scorer": class_identity(type(scorer)),
            **outside_classes(attack=attack),
            **scorer.settings(),
            **scorer.chosen_by(measured),
            "precision": runtime.precision,
            "fit_rows": listed(fit_rows),
            "is_member": listed(is_member),
        }
        key = Key("scores", scorer.version, config, {"measured": measured.key}, files=("scores.npy",), label=name)

        def fit(workspace: Path, scorer: LearnedScorer = scorer) -> None:
            fitting = Fitting(fit_rows, is_member, workspace, runtime, run.tracker.lightning)
            np.save(workspace / "scores.npy", scorer.fit_and_score(measured, fitting))

        folder = run.store.get_or_build(key, fit).path
        scores[name] = np.load(folder / "scores.npy")
        if (folder / FACTS).is_file():
            fitted[name] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return scores, fitted


def evaluate(
    run: Run, attack: Attack, scores: dict[str, Scores]
) -> tuple[dict[str, Judgement], dict[str, Scored], dict[str, PrivacyBound]]:
    """Judge each scorer on the evaluation part; a threshold is calibrated where nothing was fitted."""
    split, settings = run.split, run.parts.general.evaluation
    judged = split.of_part(Part.EVALUATION)
    membership = membership_of(split)
    judgements, evaluated, bounds = {}, {}, {}
    for name, values in scores.items():
        learned = isinstance(attack.scorers[name], LearnedScorer)
        free = split.of_part(Part.CALIBRATION) if learned else split.of_part(Part.FIT, Part.CALIBRATION)
        evaluated[name] = Scored(values[judged], split.is_member[judged])
        calibration = Scored(values[free], split.is_member[free]) if free.any() else None
        judgements[name] = judge(
            evaluated[name],
            calibration,
            rounds=settings.bootstrap_rounds,
            seed=run.parts.general.seed,
            low_fprs=settings.low_fprs,
        )
        if calibration:
            bounds[name] = privacy_bound(evaluated[name], calibration, delta=settings.delta, membership=membership)
    if bounds and membership is Membership.GROUPED:
        warn(
            "one_run_left_out",
            f"No bound on ε is stated by the theorems on one run, which ask for a coin for each image: "
            f"{split.drawn_together} of the {len(split.attacked)} attacked images became members together with others "
            "that look alike (split.near_duplicates=group). Give each image once, or audit with canaries=noise.",
            count=split.drawn_together,
        )
    return judgements, evaluated, bounds


def membership_of(split: Split) -> Membership:
    """Return how the attacked samples became members."""
    if split.by_coins:
        return Membership.COINS
    if split.drawn_together:
        return Membership.GROUPED
    return Membership.DRAWN if split.drawn else Membership.STATED


def measure_quality(run: Run, quality: Quality, target: PreparedTarget) -> Measures:
    """Measure the target's quality on the images that an attack gets."""
    images, timesteps = run.images.select(run.split.attacked), run.parts.target.timesteps.count
    with timed(run.seconds, "quality"):
        return quality.measure(target, timesteps, images, run.split.is_member, run.store, run.parts.runtime)


def identity(config: DictConfig, general: General, folder: Path) -> RunIdentity:
    """Make the identity that a tracker shows; the jobs of a sweep share a group."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    shown: Any = as_strict_json(resolved, lambda number: number)
    attack = config.attack.name if "attack" in config else "target"
    group = general.group
    if group is None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        group = folder.parent.name
    return RunIdentity(
        folder=folder,
        name=f"{attack}-{shown['dataset']['name']}-{unicode_name(folder.name)}",
        config=shown,
        group=group,
        job_type=attack,
        tags=general.tags,
    )
