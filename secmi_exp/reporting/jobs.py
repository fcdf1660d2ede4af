"""The jobs of a sweep, as their directories tell of them."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from secmi_exp.plain_yaml import read_yaml
from secmi_exp.run_warnings import RunWarning

log = logging.getLogger(__name__)

FAILURE = "failure.txt"
"""What a job that failed leaves: why, in a sentence."""


class Estimate(NamedTuple):
    """A number with the ends of its 95% interval; None where unresolved."""

    value: float | None
    low: float | None
    high: float | None

    def columns(self, name: str) -> dict[str, float | None]:
        """Of a table: name, name_low, name_high."""
        return dict(zip((name, f"{name}_low", f"{name}_high"), self, strict=True))

    def __str__(self) -> str:
        """Such as 0.898 [0.867, 0.925].

        >>> str(Estimate(0.8981, 0.867, 0.925)), str(Estimate(0.5, None, None)), str(Estimate(None, None, None))
        ('0.898 [0.867, 0.925]', '0.500', '')
        """
        if self.value is None:
            return ""
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


UNRESOLVED = Estimate(None, None, None)


def estimate(found: dict[str, Any], metric: str) -> Estimate:
    """A metric of results.json, or of one of its ``others``."""
    low, high = found.get("ci95", {}).get(metric) or (None, None)
    return Estimate(found.get("metrics", {}).get(metric), low, high)


@dataclass(frozen=True)
class Job:
    """A job that has ended with a result."""

    folder: Path
    given: dict[str, str]
    """Its overrides."""
    results: dict[str, Any]
    """Its results.json."""

    @classmethod
    def of(cls, folder: Path) -> "Job":
        """Read a job's directory."""
        return cls(folder, overrides(folder), json.loads((folder / "results.json").read_text(encoding="utf-8")))

    @property
    def name(self) -> str:
        """Its number."""
        return self.folder.name

    @property
    def validation(self) -> Estimate:
        """AUC on attack-train images that nothing was fitted on, by which a search chooses."""
        return estimate(self.results.get("validation", {}), "auc")

    @property
    def warnings(self) -> list[RunWarning]:
        """What a reader of its results has to know."""
        return [RunWarning(**warning) for warning in self.results.get("warnings", [])]

    @property
    def queries_spent(self) -> int:
        """Queries that it made itself, over all samples."""
        return int(self.results.get("queries_spent", 0))

    @property
    def seconds(self) -> float:
        """Of all its stages."""
        return float(sum(self.results["timing_s"].values()))

    @property
    def attack_seconds(self) -> float:
        """Of measuring and scoring: what the attack took beyond the store, the target's training left aside."""
        return float(sum(self.results["timing_s"].get(stage, 0.0) for stage in ("signal", "scores")))

    def row(self) -> dict[str, Any]:
        """Of summary.csv: overrides, metrics, what the target is worth, what privacy it spent, and the cost."""
        metrics: dict[str, float | None] = {}
        for found in (self.results, self.results.get("quality", {})):
            for name in found.get("metrics", {}):
                metrics |= estimate(found, name).columns(name)
        if "validation" in self.results:
            metrics |= self.validation.columns("validation_auc")
        if privacy := self.results.get("privacy"):
            bound = self.results.get("epsilon_lower_bound", {})
            metrics |= {"epsilon_spent": privacy["epsilon"], "epsilon_refuted": bound.get("epsilon")}
        cost = {
            "queries_per_sample": self.results.get("queries_per_sample"),
            "queries_spent": self.queries_spent,
            "seconds": round(self.seconds, 3),
        }
        warnings = {"warnings": " ".join(dict.fromkeys(warning.code for warning in self.warnings))}
        return {"job": self.name, **self.given, **metrics, **cost, **warnings}


@dataclass(frozen=True)
class FailedJob:
    """A job that has ended without a result."""

    name: str
    """Its number."""
    given: dict[str, str]
    """Its overrides."""
    reason: str

    def row(self) -> dict[str, str]:
        """Of summary.csv."""
        return {"job": self.name, **self.given, "failure": self.reason}


def overrides(folder: Path) -> dict[str, str]:
    """Of a job, by its directory: setting → value.

    Raises:
        OSError, yaml.YAMLError, TypeError: where its record can't be read, or is no list.
    """
    given = {}
    listed: Any = read_yaml(folder / ".hydra/overrides.yaml")
    for override in listed:
        name, _, value = str(override).lstrip("+").partition("=")
        given[name] = value
    return given


def failed_jobs(folder: Path) -> list[FailedJob]:
    """The jobs of a sweep that have failed and said why, by number."""
    jobs = [
        FailedJob(file.parent.name, overrides(file.parent), file.read_text(encoding="utf-8").strip())
        for file in folder.glob(f"*/{FAILURE}")
        if not (file.parent / "results.json").is_file()
    ]
    return sorted(jobs, key=lambda job: (len(job.name), job.name))


def ended_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep that have left a result, by number; those that failed have none."""
    jobs = []
    for file in folder.glob("*/results.json"):
        try:
            jobs.append(Job.of(file.parent))
        except (OSError, ValueError) as error:
            log.warning("Job %s is left out of the sweep's tables, since it can't be read: %s", file.parent.name, error)
    return sorted(jobs, key=lambda job: (len(job.name), job.name))  # 2 before 10


def swept_names(given: Sequence[Mapping[str, str]]) -> list[str]:
    """Overrides in which jobs differ.

    >>> swept_names([{"attack": "stat", "seed": "0"}, {"attack": "stat", "seed": "1"}])
    ['seed']
    """
    names = dict.fromkeys(name for each in given for name in each)
    return [name for name in names if len({each.get(name) for each in given}) > 1]


def read_estimate(row: Mapping[str, Any], name: str) -> Estimate:
    """A metric of a row of summary.csv or comparison.csv, as it was written or read again."""
    value, low, high = (row.get(column) for column in UNRESOLVED.columns(name))
    return Estimate(*(None if each in (None, "") else float(each) for each in (value, low, high)))
