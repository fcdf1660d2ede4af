"""What is kept of a run or a sweep in results/: small files that tables and figures are made from."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from secmi_exp.configuration.folders import CONF
from secmi_exp.evaluation.relative_t_error import RelativeTError
from secmi_exp.evaluation.scored import Scored
from secmi_exp.reporting.results_file import Results, read_results
from secmi_exp.reporting.table_files import write_csv

RESULTS = Path(__file__).parent / "results"

Row = dict[str, str]

FACTS = (
    "attack", "dataset", "target", "n_member", "n_holdout", "queries_per_sample", "t_sec", "k", "metrics", "ci95",
    "relative_t_error",
)  # fmt: skip
"""Of a run's results.json."""


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
