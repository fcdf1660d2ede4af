"""A finished run as Python and notebooks see it; read from its folder, so that it can be read again any time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from secmi_exp.api.html import page_of, table_of, warnings_of
from secmi_exp.data.parquet_files import open_parquet
from secmi_exp.errors import UserError, reason_without_path
from secmi_exp.evaluation.roc import Roc
from secmi_exp.files.regular import read_regular
from secmi_exp.formatting import shown
from secmi_exp.report import write_report
from secmi_exp.reporting.drawing import Drawing
from secmi_exp.reporting.entries import EvaluatedScores, read_entries
from secmi_exp.reporting.results_file import METRIC_NAMES, Estimate, Results, subject
from secmi_exp.reporting.run_figures import plot_run
from secmi_exp.reporting.run_folders import FinishedRun, find_runs
from secmi_exp.run_warnings import RunWarning, grave_first

FIRST = ["id", "score", "is_member", "part"]
"""Columns of the table of scores that every attack has."""


@dataclass(frozen=True, eq=False, repr=False)
class AuditResult:
    """What an attack has found; everything is read from the run's folder."""

    run: FinishedRun

    @property
    def folder(self) -> Path:
        """The run's directory: results.json, scores.parquet, figures, configuration, log."""
        return self.run.folder

    @property
    def results(self) -> Results:
        """results.json as far as this package itself reads it."""
        return self.run.results

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """results.json as it is; docs/results.md says what its fields are."""
        content: Mapping[str, Any] = json.loads(read_regular(self.folder / "results.json"))
        return content

    @property
    def attack(self) -> str:
        """Name of the attack, and of the scorer that the figures are of."""
        return str(self.results.attack)

    @property
    def auc(self) -> float:
        """AUC on the evaluation part, on which nothing was fitted or chosen."""
        value = self.metrics["auc"].value
        assert value is not None
        return value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the AUC (DeLong)."""
        _, low, high = self.metrics["auc"]
        assert low is not None
        assert high is not None
        return low, high

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Metric → value and 95% interval; None for what the sample doesn't resolve."""
        return self.results.estimates()

    @property
    def warnings(self) -> list[RunWarning]:
        """What a reader of the figures has to know, the grave ones first: with one of those, they measure no leak."""
        return grave_first(self.results.warnings or [])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row for each attacked image: ``id``, ``score`` (higher: more likely a member), ``is_member``, ``part``.

        Metrics are of the rows whose part is ``evaluation``. Further columns are those of scores.parquet.

        Raises:
            UserError: where scores.parquet can't be read.
        """
        try:
            with open_parquet(self.folder / "scores.parquet") as file:
                table = file.read().to_pandas().rename(columns={f"score_{self.attack}": "score"})
        except (OSError, pa.ArrowException) as error:
            place = self.folder / "scores.parquet"
            raise UserError(f"{place} can't be read ({reason_without_path(error)}).") from error
        return table[[*FIRST, *(name for name in table.columns if name not in FIRST)]]

    @property
    def _evaluated(self) -> EvaluatedScores:
        entry = next(entry for entry in read_entries([self.run]) if entry.is_own)
        if entry.evaluated is None:
            raise UserError(f"The scores of {self.folder} can't be used: {entry.missing}.")
        return entry.evaluated

    def roc(self) -> Roc:
        """The exact ROC on the evaluation part: ``fpr``, ``tpr``, ``thresholds``.

        Raises:
            UserError: where scores.parquet can't be read.
        """
        return self._evaluated.roc

    def plot(self) -> Drawing:
        """ROC and scores of both sides on the evaluation part: a figure of matplotlib, which notebooks show.

        Raises:
            UserError: where scores.parquet can't be read.
        """
        thresholds = {name: value for name, value in self.results.threshold.items() if value is not None}
        named = subject(self.results.target, self.results.dataset)
        return plot_run(self.attack, self._evaluated.scored, thresholds, named)

    def report(self, file: str | PathLike[str] = "report.html") -> Path:
        """Write the HTML page about this run; returns its path.

        Raises:
            UserError: where it can't be written.
        """
        write_report([self.folder], Path(file))
        return Path(file)

    @property
    def place(self) -> str:
        """The folder, relative to the working directory where it lies below that."""
        return str(self.folder.relative_to(Path.cwd()) if self.folder.is_relative_to(Path.cwd()) else self.folder)

    @property
    def headline(self) -> str:
        """What was attacked with what, and how many images judge it."""
        results = self.results
        return (
            f"{self.attack} on {subject(results.target, results.dataset)}: {results.n_member} members and "
            f"{results.n_holdout} hold-outs, {results.queries_per_sample} queries an image"
        )

    def __repr__(self) -> str:
        parts = [self.headline, f"AUC {self.metrics['auc']}"]
        if any(warning.grave for warning in self.warnings):
            parts.append("figures are no measure of a leak, see warnings")
        elif self.warnings:
            parts.append(f"{len(self.warnings)} in warnings")
        return f"<AuditResult: {'; '.join([*parts, self.place])}>"

    def _repr_html_(self) -> str:
        names = sorted(self.metrics, key=[*METRIC_NAMES, *self.metrics].index)
        rows = [(METRIC_NAMES.get(name, name), str(self.metrics[name]) or "not resolved") for name in names]
        notes = [f"Not resolved: {reason}." for reason in dict.fromkeys(self.results.unresolved.values())]
        if collection := self.facts.get("collection"):
            p_value = collection["p_mann_whitney"]
            notes.append(f"p-value of “members together score no higher than hold-outs”: {p_value:.2g} (Mann-Whitney).")
        metrics = table_of(["metric", "value [95% interval]"], rows)
        return page_of(self.headline, [warnings_of(self.warnings), metrics], [*notes, f"Folder: {self.place}"])


def load(folder: str | PathLike[str]) -> AuditResult:
    """Read a run that has ended, whoever has carried it out.

    Args:
        folder: of the run; or one that holds a single run.

    Raises:
        UserError: where there is no run, more than one, one without results, or one without an attack; for what is no
            path.
    """
    if not isinstance(folder, str | PathLike):
        raise UserError(f'load takes the folder of a run, and {shown(folder)} is no path: write load("FOLDER").')
    runs = find_runs([Path(folder)])
    names = sorted([each.shown for each in runs.finished] + [each.shown for each in runs.failed])
    if len(names) > 1:
        raise UserError(f"{folder} holds {len(names)} runs ({', '.join(names[:5])}, …): name one of them.")
    if runs.failed:
        raise UserError(f"The run in {folder} has no results. {runs.failed[0].reason}")
    (run,) = runs.finished
    if not run.results.scorers:
        raise UserError(f"The run in {folder} has trained a target and made no attack: there are no scores to load.")
    return AuditResult(run)
