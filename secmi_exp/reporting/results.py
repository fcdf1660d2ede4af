"""results.json, scores.parquet and the terminal's table."""

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secmi_exp import __version__
from secmi_exp.evaluation.judge import Judgement, Validation
from secmi_exp.evaluation.privacy_bound import PrivacyBound
from secmi_exp.quality.quality import Measures
from secmi_exp.reporting.jobs import Estimate
from secmi_exp.run_warnings import RunWarning
from secmi_exp.storage_errors import explain_storage_errors, output_place
from secmi_exp.store import Json, write_json
from secmi_exp.strict_json import as_strict_json

SCHEMA = 1

METRIC_NAMES = {
    "auc": "AUC",
    "asr": "ASR (oracle threshold)",
    "accuracy_calibrated": "accuracy (calibrated threshold)",
    "precision_calibrated": "precision (calibrated threshold)",
    "recall_calibrated": "recall (calibrated threshold)",
    "tpr_at_1pct_fpr": "TPR @ 1% FPR",
    "tpr_at_0.1pct_fpr": "TPR @ 0.1% FPR",
    "log_pauc": "log-scale area from 0.1% FPR",
}
"""As the terminal shows them, in this order; others follow under their own name."""


@dataclass(frozen=True)
class Outcome:
    """What a run found."""

    header: dict[str, Json]
    """The fields of results.json that hold with and without an attack."""
    judgements: Mapping[str, Judgement]
    """Scorer → judgement, the attack's own first; empty without an attack."""
    bounds: Mapping[str, PrivacyBound]
    """Scorer → the ε that its decisions refute."""
    quality: Measures | None = None
    """Of the target, where it was asked for."""
    warnings: Sequence[RunWarning] = ()
    """What a reader of the results has to know."""


def versions() -> dict[str, Json]:
    """What computed the results."""
    packages = ("torch", "pytorch-lightning", "diffusers", "scikit-learn", "numpy")
    return {
        "secmi_exp": __version__,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "machine": platform.machine(),
        "gpu": _gpu(),
    }


def _gpu() -> str | None:
    """The GPU at hand, where anything was computed at all."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None


def validation_fields(found: Validation) -> dict[str, Json]:
    """In the form of the metrics themselves."""
    sizes: dict[str, Json] = {"n_member": found.n_member, "n_holdout": found.n_holdout}
    return {**sizes, "metrics": {"auc": found.auc}, "ci95": {"auc": list(found.ci95)}}


def _judged(judged: Judgement, bound: PrivacyBound) -> dict[str, Json]:
    return {
        "metrics": dict(judged.metrics),
        "ci95": {name: list(interval) if interval else None for name, interval in judged.ci95.items()},
        "validation": validation_fields(judged.validation),
        "threshold": dict(judged.thresholds),
        "unresolved": dict(judged.unresolved),
        "operating_points": {name: asdict(point) for name, point in judged.operating_points.items()},
        "epsilon_lower_bound": {
            "epsilon": bound.epsilon, "one_run": bound.one_run, "delta": bound.delta, "confidence": bound.confidence,
            "threshold": bound.threshold,
        },
    }  # fmt: skip


def write_results(folder: Path, outcome: Outcome) -> None:
    """Write results.json: the attack's own scorer at the top level, further ones below ``others``.

    What has no finite value is null: a threshold that calls nobody a member, a ratio to a t-error of 0.

    Raises:
        UserError: where it can't be written.
    """
    content: dict[str, Json] = {"schema": SCHEMA, **outcome.header}
    if outcome.quality:
        content["quality"] = outcome.quality.facts()
    if outcome.judgements:
        leading, *others = outcome.judgements
        content |= _judged(outcome.judgements[leading], outcome.bounds[leading])
        content["others"] = {name: _judged(outcome.judgements[name], outcome.bounds[name]) for name in others}
    content["versions"] = versions()
    with explain_storage_errors(output_place(folder)):
        write_json(folder / "results.json", as_strict_json(content, lambda number: None))


def write_scores(folder: Path, columns: Mapping[str, NDArray[np.generic] | list[str]]) -> None:
    """Write scores.parquet, a row for each attacked sample; what a sample doesn't have is null, never NaN.

    Raises:
        UserError: where it can't be written.
    """
    table = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    with explain_storage_errors(output_place(folder)):
        pa.parquet.write_table(pa.table(table), folder / "scores.parquet")


def print_quality(quality: Measures, console: Console) -> None:
    """What the target is worth, in a line."""
    told = ", ".join(
        f"{name.replace('_', ' ')} {Estimate(value, *(quality.ci95[name] or (None, None)))}"
        for name, value in quality.metrics.items()
    )
    console.print(Text(f"The target's quality: {told}."), soft_wrap=True)


def print_table(outcome: Outcome, console: Console) -> None:
    """Metrics with their intervals, a column for each scorer."""
    leading = next(iter(outcome.judgements.values()))
    head = outcome.header
    title = (
        f"{head['attack']} on {head['target']}, {head['dataset']}: {leading.n_member} members, "
        f"{leading.n_holdout} hold-outs, {head['queries_per_sample']} queries a sample"
    )
    table = Table(title=Text(title, style="table.title"), title_justify="left")
    table.add_column("metric [95% interval]")
    for name in outcome.judgements:
        table.add_column(Text(name), justify="right")
    for metric in sorted(leading.metrics, key=[*METRIC_NAMES, *leading.metrics].index):
        label = METRIC_NAMES.get(metric, metric)
        table.add_row(*map(Text, (label, *(_cell(judged, metric) for judged in outcome.judgements.values()))))
    console.print(table)
    for reason in dict.fromkeys(leading.unresolved.values()):
        console.print(Text(f"Not resolved: {reason}."))


def print_warnings(warnings: Sequence[RunWarning], console: Console) -> None:
    """One line a warning, the grave ones first."""
    for warning in sorted(warnings, key=lambda warning: not warning.grave):
        kind = Text("Figures are no measure of a leak: " if warning.grave else "Warning: ", style="bold")
        console.print(kind + Text(warning.sentence), soft_wrap=True)


def _cell(judged: Judgement, metric: str) -> str:
    value, interval = judged.metrics[metric], judged.ci95[metric]
    if value is None or interval is None:
        return "not resolved"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
