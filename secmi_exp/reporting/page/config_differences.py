"""In which settings the runs' configurations differ."""

from collections.abc import Mapping
from dataclasses import dataclass

from secmi_exp.reporting.run_folders import FinishedRun


@dataclass(frozen=True)
class Difference:
    """A setting that has several values."""

    setting: str
    by_run: list[str | None]
    """Value in each run; None where the run has no such setting."""
    by_value: dict[str | None, list[str]]
    """Value → names of the runs that have it."""


@dataclass(frozen=True)
class Differences:
    """The settings in which configurations differ."""

    names: list[str]
    """Names of the runs."""
    shared: list[Difference]
    """Settings that all runs have."""
    partial: list[Difference]
    """Settings that only some runs have."""


def config_differences(names: Mapping[FinishedRun, str]) -> Differences | None:
    """Compare the configurations of named runs; None if there are no two.

    Args:
        names: run → its name.
    """
    runs = [run for run in names if run.config]
    if len(runs) < 2:
        return None
    shared: list[Difference] = []
    partial: list[Difference] = []
    for setting in sorted({setting for run in runs for setting in run.config}):
        values = [run.config.get(setting) for run in runs]
        by_value: dict[str | None, list[str]] = {}
        for run, value in zip(runs, values, strict=True):
            by_value.setdefault(value, []).append(names[run])
        if len(by_value) > 1:
            (partial if None in by_value else shared).append(Difference(setting, values, by_value))
    return Differences([names[run] for run in runs], shared, partial)
