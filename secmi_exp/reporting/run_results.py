"""What a run found, in results.json and scores.parquet; `results_file` reads the former again."""

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from secmi_exp import __version__
from secmi_exp.data.split import Part, Split
from secmi_exp.evaluation.exposure import collection_p_value, conformal_p_values, leave_one_out_p_values, percentiles
from secmi_exp.evaluation.gate import Decision
from secmi_exp.evaluation.judge import Judgement, Validation
from secmi_exp.evaluation.multiple_testing import benjamini_hochberg
from secmi_exp.evaluation.one_run_audit import OneRunAudit
from secmi_exp.evaluation.privacy_bound import PrivacyBound
from secmi_exp.evaluation.scored import Floats, Scored
from secmi_exp.files.storage_errors import explain_storage_errors, output_place
from secmi_exp.files.strict_json import Json, as_strict_json
from secmi_exp.quality.measures import Measures
from secmi_exp.reporting.provenance import attack_settings, provenance
from secmi_exp.run_state import AttackOutcome, Run
from secmi_exp.run_warnings import RunWarning
from secmi_exp.store import write_json
from secmi_exp.targets.interface import PreparedTarget

SCHEMA = 1


@dataclass(frozen=True)
class RunResults:
    """What a run found."""

    header: dict[str, Json]
    """The fields of results.json that are there with and without an attack."""
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    """Scorer → judgement, the attack's own first; empty without an attack."""
    bounds: Mapping[str, PrivacyBound] = field(default_factory=dict)
    """Scorer → lower bound on ε; none without a calibrated threshold."""
    fitted: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """Scorer → what its fitting recorded."""
    quality: Measures | None = None
    """Quality of the target, if it was measured."""
    warnings: Sequence[RunWarning] = ()
    gate: Decision | None = None
    """What the gate has decided; None without limits."""


def write_results(folder: Path, results: RunResults) -> None:
    """Write results.json: the attack's own scorer at the top level, further ones below ``others``.

    Numbers that are not finite become null: a threshold above all scores, a ratio to a t-error of 0.

    Raises:
        UserError: where it can't be written.
    """
    content: dict[str, Json] = {"schema": SCHEMA, **results.header}
    if results.quality:
        content["quality"] = results.quality.facts()
    if results.judgements:
        fields = {
            name: _scorer_fields(each, results.bounds.get(name), results.fitted.get(name))
            for name, each in results.judgements.items()
        }
        own, *others = fields
        content |= {**fields[own], "others": {name: fields[name] for name in others}}
    if results.gate:
        content["gate"] = {"outcome": str(results.gate.outcome), **asdict(results.gate)}
    content["versions"] = _versions()
    with explain_storage_errors(output_place(folder)):
        write_json(folder / "results.json", as_strict_json(content, lambda number: None))


def write_scores(run: Run, attacked: AttackOutcome) -> None:
    """Write scores.parquet, a row for each attacked sample; what a sample doesn't have is null, never NaN.

    Raises:
        UserError: where it can't be written.
    """
    split, measured = run.split, attacked.measured
    columns: dict[str, NDArray[np.generic] | list[str]] = {
        "id": [run.images.ids[row] for row in split.attacked],
        "row": split.attacked,
        "is_member": split.is_member,
        "part": split.part.tolist(),
        **{name: values for name, values in measured.numbers.items() if name not in measured.unlisted},
        **{f"score_{name}": values for name, values in attacked.scores.items()},
        **_exposure_columns(split, attacked.scores[attacked.attack.name]),
    }
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    with explain_storage_errors(output_place(run.folder)):
        pa.parquet.write_table(pa.table(arrays), run.folder / "scores.parquet")


def describe_run(run: Run, target: PreparedTarget | None, attacked: AttackOutcome | None) -> dict[str, Json]:
    """Return the fields of results.json that describe the run."""
    header: dict[str, Json] = {
        "attack": attacked.attack.name if attacked else None,
        "dataset": run.parts.dataset.name,
        "dataset_facts": run.parts.dataset.facts(run.images),
        "target": run.target_name,
        "target_folder": str(target.folder) if target else "",
        "target_trained_here": run.parts.target.trained_here if target else None,
        "defense": run.parts.defense.name,
        **(target.facts if target else {}),
        "split": run.split_facts,
        "seed": run.parts.general.seed,
        "timing_s": run.seconds,
        "warnings": [warning.as_json() for warning in run.warnings],
    }
    if attacked:
        measured, own = attacked.measured, attacked.attack.name
        header |= {
            "n_member": attacked.judgements[own].n_member,
            "n_holdout": attacked.judgements[own].n_holdout,
            "queries_per_sample": measured.queries_per_sample,
            "queries_spent": measured.queries_spent,
            **measured.facts,
            "collection": _collection_fields(attacked.evaluated[own]),
            "attack_settings": attack_settings(run.config),
        }
        if measured.copied is not None:
            sides = {"members": run.split.is_member, "holdouts": ~run.split.is_member}
            header["extracted"] = {side: attacked.copied(rows) for side, rows in sides.items()}
        if attacked.surrogates:
            header["surrogates"] = dict(attacked.surrogates)
        if attacked.relative_t_error:
            header["relative_t_error"] = asdict(attacked.relative_t_error)
    header["provenance"] = provenance(run, target, attacked)
    return header


def validation_fields(validation: Validation) -> dict[str, Json]:
    """Return the validation AUC in the form of the metrics."""
    sizes: dict[str, Json] = {"n_member": validation.n_member, "n_holdout": validation.n_holdout}
    return {**sizes, "metrics": {"auc": validation.auc}, "ci95": {"auc": list(validation.ci95)}}


def _scorer_fields(judged: Judgement, bound: PrivacyBound | None, fitted: Mapping[str, Json] | None) -> dict[str, Json]:
    return {
        **({"fitted": fitted} if fitted else {}),
        "metrics": dict(judged.metrics),
        "ci95": {name: list(interval) if interval else None for name, interval in judged.ci95.items()},
        "validation": validation_fields(judged.validation) if judged.validation else None,
        "threshold": {name: judged.thresholds.get(name) for name in ("oracle", "calibrated")},
        "unresolved": dict(judged.unresolved),
        "operating_points": {name: asdict(point) for name, point in judged.operating_points.items()},
        "epsilon_lower_bound": {
            "epsilon": bound.epsilon, "one_run": bound.one_run, "delta": bound.delta, "confidence": bound.confidence,
            "threshold": bound.threshold, "membership": str(bound.membership),
            "abstaining": _audit_fields(bound.audit),
        } if bound else None,
    }  # fmt: skip


def _audit_fields(audit: OneRunAudit | None) -> dict[str, Json] | None:
    """Return the bounds from the most confident guesses."""
    if audit is None:
        return None
    return {
        "epsilon": audit.epsilon,
        "epsilon_gaussian": audit.gaussian_epsilon,
        "mu_gaussian": audit.mu,
        "guessed_members": audit.guesses.members,
        "guessed_holdouts": audit.guesses.holdouts,
        "correct": audit.correct,
        "samples": audit.samples,
        "number_chosen_on_others": audit.guesses.chosen,
    }


def _collection_fields(evaluated: Scored) -> dict[str, Json]:
    """Return p-values of "the members together score no higher than hold-outs"."""
    members, holdouts = evaluated.scores[evaluated.is_member], evaluated.scores[~evaluated.is_member]
    varied = min(len(members), len(holdouts)) > 1 and max(np.ptp(members), np.ptp(holdouts)) > 0
    return {
        "n": len(members),
        "n_reference": len(holdouts),
        "p_mann_whitney": collection_p_value(members, holdouts),
        "p_welch": collection_p_value(members, holdouts, test="welch") if varied else None,
    }


def _exposure_columns(split: Split, scores: Floats) -> dict[str, Floats]:
    """Compare each image of the evaluation part with its hold-outs: percentile, p-value and, of members, q-value."""
    judged = split.of_part(Part.EVALUATION)
    members, holdouts = (np.flatnonzero(judged & side) for side in (split.is_member, ~split.is_member))
    reference = scores[holdouts]
    columns = {name: np.full(len(scores), np.nan) for name in ("percentile", "p_value", "q_value")}
    columns["percentile"][judged] = percentiles(scores[judged], reference)
    columns["p_value"][holdouts] = leave_one_out_p_values(reference)
    columns["p_value"][members] = conformal_p_values(scores[members], reference)
    columns["q_value"][members] = benjamini_hochberg(columns["p_value"][members])
    return columns


def _versions() -> dict[str, Json]:
    """Return the versions of what computed the results."""
    packages = ("torch", "pytorch-lightning", "diffusers", "scikit-learn", "numpy")
    torch = sys.modules.get("torch")  # not imported if nothing was computed
    return {
        "secmi_exp": __version__,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
    }
