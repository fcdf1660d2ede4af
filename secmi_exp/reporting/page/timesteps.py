"""How an attack depends on its timestep, where runs differ in t_sec."""

from collections.abc import Sequence
from dataclasses import dataclass

from secmi_exp.reporting.entries import Entry
from secmi_exp.reporting.results_file import Estimate


@dataclass(frozen=True)
class Series:
    """One attack at several timesteps, all else equal."""

    name: str
    timesteps: list[int]
    """t_sec, ascending."""
    estimates: list[Estimate]
    """AUC at each of them."""

    @property
    def best(self) -> int:
        """The timestep with the highest AUC."""
        return max(zip(self.timesteps, self.estimates, strict=True), key=lambda point: point[1].value or 0.0)[0]

    def __str__(self) -> str:
        """Say where the AUC is highest."""
        estimate = self.estimates[self.timesteps.index(self.best)]
        return f"{self.name}: AUC is highest at t_sec {self.best}, {estimate}, of {len(self.timesteps)} timesteps"


def timestep_series(entries: Sequence[Entry]) -> list[Series]:
    """Group entries that differ in t_sec and in nothing else of their configuration."""
    groups: dict[tuple[object, ...], dict[int, Entry]] = {}
    for entry in entries:
        results = entry.run.results
        if entry.auc is None or results.t_sec is None:
            continue
        rest = tuple((name, value) for name, value in entry.run.config.items() if name != "attack.t_sec")
        key = (entry.scorer, results.dataset, results.target, results.target_folder, results.seed, results.k, rest)
        groups.setdefault(key, {}).setdefault(results.t_sec, entry)
    swept = [dict(sorted(group.items())) for group in groups.values() if len(group) > 1]
    return [
        Series(
            _name(group, alone=len(swept) == 1), list(group), [each.results.estimate("auc") for each in group.values()]
        )
        for group in swept
    ]


def _name(group: dict[int, Entry], *, alone: bool) -> str:
    """Return the entries' name without their t_sec; the path in it stays, which tells series apart."""
    words = [word for word in next(iter(group.values())).name.split() if not word.startswith("t_sec=")]
    return words[0] if alone else " ".join(words)
