"""Sweeps as their jobs leave them, with scores of known quality."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from omegaconf import OmegaConf

from secmi_exp.data.split import Part
from secmi_exp.evaluation.judge import Judgement, judge
from secmi_exp.evaluation.scored import Scored
from secmi_exp.files.strict_json import Json
from secmi_exp.reporting.results_file import Results
from secmi_exp.reporting.run_folders import FinishedRun
from secmi_exp.reporting.run_results import validation_fields

ROUNDS = 100
EACH = 150
"""Members, and as many hold-outs; a fifth of them calibrates."""


def found(judged: Judgement) -> dict[str, Json]:
    """What results.json holds of a scorer."""
    return {
        "metrics": dict(judged.metrics),
        "ci95": {name: list(interval) if interval else None for name, interval in judged.ci95.items()},
        "unresolved": dict(judged.unresolved),
        "validation": validation_fields(judged.validation) if judged.validation else None,
    }


def write_results(folder: Path, content: Mapping[str, Json]) -> None:
    """Write results.json."""
    (folder / "results.json").write_text(json.dumps({"schema": 1, **content}), encoding="utf-8")


def finished_run(name: str, overrides: Mapping[str, str], **fields: object) -> FinishedRun:
    """A run with these fields in its results.json, which is not on disk."""
    results = Results.model_validate({"attack": "stat", "dataset": "digits", "target": "ddpm", **fields})
    return FinishedRun(Path(name), name, overrides, results)


class SweepFolder:
    """A sweep's directory, to which jobs are added."""

    def __init__(self, folder: Path, logger: Mapping[str, Json] | None = None, each: int = EACH):
        self.folder, self.logger, self.each = folder, dict(logger or {}), each
        self.jobs = 0

    def job(
        self,
        overrides: list[str],
        shifts: Mapping[str, float],
        *,
        samples: int = 0,
        noise: int = 0,
        target: str = "/store/target/a",
        queries: int = 11,
        seconds: float = 1.5,
        dataset: str = "digits",
    ) -> Path:
        """Add a job.

        Args:
            overrides: as given to it.
            shifts: scorer → distance of members from hold-outs in standard deviations; the attack's own first.
            samples: another number is another split.
            noise: another number gives other scores.
            target: folder of the weights.
            queries: per sample.
            seconds: of the signal; the target took a hundred.
            dataset: name.
        """
        folder = self._folder(overrides, seed=samples)
        rng = np.random.default_rng(samples)
        is_member = rng.permutation(np.arange(2 * self.each) < self.each)
        part = np.full(2 * self.each, str(Part.EVALUATION), dtype="<U16")
        for side in (is_member, ~is_member):
            part[np.flatnonzero(side)[: self.each // 5]] = str(Part.FIT)
        difficulty = rng.normal(size=2 * self.each)
        scores, judgements = {}, {}
        judged = part == str(Part.EVALUATION)
        for name, shift in shifts.items():
            own = np.random.default_rng([samples, noise, *name.encode()]).normal(size=2 * self.each)
            scores[name] = shift * is_member + 0.6 * difficulty + 0.8 * own
            judgements[name] = judge(
                Scored(scores[name][judged], is_member[judged]),
                Scored(scores[name][~judged], is_member[~judged]),
                rounds=ROUNDS,
                seed=samples,
            )
        leading = next(iter(shifts))
        header: dict[str, Json] = {
            "attack": leading,
            "dataset": dataset,
            "target": "ddpm",
            "target_folder": target,
            "seed": samples,
            "timing_s": {"target": 100.0, "signal": seconds, "scores": 0.0},
            "n_member": judgements[leading].n_member,
            "n_holdout": judgements[leading].n_holdout,
            "queries_per_sample": queries,
            "queries_spent": queries * 2 * self.each,
        }
        (_, own_found), *others = ((name, found(judged)) for name, judged in judgements.items())
        write_results(folder, {**header, **own_found, "others": dict(others)})
        columns = {f"score_{name}": values for name, values in scores.items()}
        ids = [f"images/{row:04d}" for row in range(2 * self.each)]
        table = {"id": ids, "row": np.arange(2 * self.each), "is_member": is_member, "part": part.tolist(), **columns}
        pa.parquet.write_table(pa.table(table), folder / "scores.parquet")
        return folder

    def target_only(self, overrides: list[str]) -> Path:
        """Add a job without an attack."""
        folder = self._folder(overrides, seed=0)
        header: dict[str, Json] = {
            "attack": None,
            "dataset": "digits",
            "target": "ddpm",
            "target_folder": "/store/target/a",
            "seed": 0,
            "timing_s": {"target": 100.0},
        }
        write_results(folder, header)
        return folder

    def failed(self, overrides: list[str]) -> Path:
        """Add a job that has left no result."""
        return self._folder(overrides, seed=0)

    def _folder(self, overrides: list[str], *, seed: int) -> Path:
        folder = self.folder / str(self.jobs)
        self.jobs += 1
        (folder / ".hydra").mkdir(parents=True)
        OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra/overrides.yaml")
        config = {"seed": seed, "group": None, "tags": ["t"], "evaluation": {"bootstrap_rounds": ROUNDS}}
        OmegaConf.save(OmegaConf.create({**config, "logger": self.logger}), folder / "config.yaml")
        return folder
