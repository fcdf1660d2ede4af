"""What is kept of a run or a sweep in results/: small files that tables and figures are made from."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from experiments.many_run_audit import read_sweep
from secmi_exp.configuration.folders import CONF
from secmi_exp.evaluation.delong import paired_test
from secmi_exp.evaluation.many_runs import many_run_bound
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.evaluation.scored import Bools, Floats, Scored
from secmi_exp.reporting.results_file import Results, read_results
from secmi_exp.reporting.run_folders import find_runs
from secmi_exp.reporting.table_files import write_csv

RESULTS = Path(__file__).parent / "results"

Row = dict[str, str]

FACTS = (
    "attack", "dataset", "target", "n_member", "n_holdout", "queries_per_sample", "t_sec", "k", "metrics", "ci95",
    "relative_t_error",
)  # fmt: skip
"""Of a run's results.json."""
DELTA = 1e-5
"""δ of the bounds on ε of many runs, as `evaluation.delta`."""
NOT_SHOWN = ("logger", "trainer", "paths", "hydra", "defense.microbatch_size")
"""Settings that decide no number, as prefixes."""


def keep_summary(folder: Path, name: str) -> None:
    """The table of a sweep's jobs."""
    shutil.copyfile(folder / "summary.csv", table(name))


def keep_comparison(folder: Path, name: str) -> None:
    """The table of a sweep over attacks."""
    shutil.copyfile(folder / "comparison.csv", table(name))


def keep_repeated_comparison(folder: Path, name: str) -> None:
    """The table of a sweep over attacks that are repeated, and the differences of each pair over the repetitions."""
    keep_comparison(folder, name)
    shutil.copyfile(folder / "comparison_pairs.csv", table(f"{name}_pairs"))


def keep_precision(folder: Path, name: str) -> None:
    """What low precision of the approach changes: AUC and t-errors of each pair of jobs on the same images."""
    setting, where = "trainer.approach_precision", ("dataset", "attack.t_sec")
    jobs: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in read_rows(folder / "summary.csv"):
        jobs.setdefault(tuple(row[each] for each in where), {})[row[setting]] = row
    rows: list[dict[str, object]] = []
    for place, by_precision in jobs.items():
        exact, is_member = _judged(folder / by_precision.pop("32")["job"])
        for precision, row in by_precision.items():
            low, _ = _judged(folder / row["job"])
            test = paired_test(-low, -exact, is_member)
            rows.append(
                {
                    **dict(zip(where, place, strict=True)), "precision": precision, "auc": row["auc"],
                    "auc_low": row["auc_low"], "auc_high": row["auc_high"],
                    "difference": f"{test.difference:.3g}",
                    "difference_low": f"{test.interval[0]:.3g}", "difference_high": f"{test.interval[1]:.3g}",
                    "deviation": f"{np.median(np.abs(low / exact - 1)):.3g}",
                    "queries_per_sample": row["queries_per_sample"],
                }
            )  # fmt: skip
    write_csv(table(name), rows)


def _judged(folder: Path) -> tuple[Floats, Bools]:
    """t-errors and membership of the images that a job was judged on."""
    scores = pq.read_table(folder / "scores.parquet").to_pandas()
    judged = scores[scores["part"] == "evaluation"]
    return judged["t_error"].to_numpy(np.float64), judged["is_member"].to_numpy(bool)


def keep_audits(folder: Path, name: str) -> None:
    """The lower bounds on ε of a run or of a sweep's jobs, beside the ε that the training's accountant states.

    Raises:
        ValueError: for a run without an audit, as its members and hold-outs are of different numbers.
    """
    rows: list[dict[str, object]] = []
    for run in find_runs([folder]).finished:
        results, bound = run.results, run.results.epsilon_lower_bound
        if bound is None or bound.abstaining is None:
            raise ValueError(f"{run.folder} has no bounds of one run.")
        shown = (f"{each}={value}" for each, value in run.overrides.items() if not each.startswith(NOT_SHOWN))
        rows.append(
            {
                "settings": " ".join(shown),
                **results.estimate("auc").columns("auc"),
                "epsilon_by_itself": bound.epsilon,
                "epsilon_one_run": bound.one_run,
                "epsilon_abstaining": bound.abstaining.epsilon,
                "epsilon_gaussian": bound.abstaining.epsilon_gaussian,
                "epsilon_spent": results.privacy.epsilon if results.privacy else None,
                "guesses": str(bound.abstaining),
                "membership": bound.membership,
            }
        )
    write_csv(table(name), rows)


def keep_many_runs(folder: Path, name: str) -> None:
    """The bound on ε of a sweep over seeds, and the highest that so many trainings can give."""
    ids, scores, included, results = read_sweep(folder)
    bound = many_run_bound(scores, included, delta=DELTA)
    outcome = bound.outcome
    row = {
        "trainings": len(scores),
        "canaries": len(ids),
        "canary": ids[bound.image],
        "with": outcome.n_member,
        "missed": outcome.false_negatives,
        "without": outcome.n_holdout,
        "falsely_called": outcome.false_positives,
        "epsilon": bound.epsilon,
        "highest_possible": bound.highest_possible,
        "epsilon_spent": results.privacy.epsilon if results.privacy else None,
        "delta": bound.delta,
        "confidence": bound.confidence,
    }
    write_csv(table(name), [row])


def keep_run(folder: Path, name: str) -> None:
    """What a single run found, and the scores that it was judged on."""
    told = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    others = {scorer: {each: found[each] for each in ("metrics", "ci95")} for scorer, found in told["others"].items()}
    kept = {each: told[each] for each in FACTS} | {"others": others}
    facts(name).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    scores = pq.read_table(folder / "scores.parquet")
    columns = ["is_member", "t_error", *(each for each in scores.column_names if each.startswith("score_"))]
    rows = [row for row in scores.to_pylist() if row["part"] == "evaluation"]
    write_csv(RESULTS / f"{name}_scores.csv", [{each: _short(row[each]) for each in columns} for row in rows])


def _short(value: Any) -> Any:
    """Seven digits keep the order of float32 scores."""
    return f"{value:.7g}" if isinstance(value, float) else value


def table(name: str) -> Path:
    """Of a sweep."""
    return RESULTS / f"{name}.csv"


def facts(name: str) -> Path:
    """Of a run."""
    return RESULTS / f"{name}.json"


def read_rows(file: Path) -> list[Row]:
    """A table's rows."""
    with file.open(newline="", encoding="utf-8") as content:
        return list(csv.DictReader(content))


def mnist_members() -> int:
    """Members of the target on mnist5k, of which `split.attack_train` is a share."""
    members: int = OmegaConf.load(CONF / "dataset/mnist5k.yaml").suggested.members
    return members


def read_run(name: str) -> Results:
    """What a run found."""
    return read_results(facts(name))


def relative_t_error(results: Results) -> RelativeTError:
    """Figure 2 of a run of SecMI; NaN where there is no finite value."""
    fields = results.relative_t_error
    assert fields is not None
    columns = [[np.nan if each is None else each for each in fields[name]] for name in ("ratio", "low", "high")]
    return RelativeTError([int(t or 0) for t in fields["timesteps"]], *columns)


def read_scores(name: str) -> dict[str, Scored]:
    """Column of a run's scores → what it was judged on; ``t_error`` is one of them."""
    rows = read_rows(RESULTS / f"{name}_scores.csv")
    is_member = np.array([row["is_member"] == "True" for row in rows])
    columns = [column for column in rows[0] if column != "is_member"]
    return {column: Scored(np.array([float(row[column]) for row in rows]), is_member) for column in columns}
