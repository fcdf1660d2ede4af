"""The tables of experiments/README.md, each made of what was kept in results/."""

from experiments.kept import Row, facts, read_rows, read_run, table
from secmi_exp.reporting.results_file import Estimate, Results
from secmi_exp.reporting.run_folders import swept_settings

METRICS = {"auc": "AUC", "asr": "ASR", "accuracy_calibrated": "accuracy, calibrated", "tpr_at_1pct_fpr": "TPR @ 1% FPR"}
LOW_FPR = {"tpr_at_0.1pct_fpr": "TPR @ 0.1% FPR"}
"""Shown where the hold-outs are enough for it."""
QUALITY = {"denoising_loss": "loss on hold-outs", "kernel_distance": "kernel distance of samples"}
PRIVACY = {"epsilon_spent": "ε spent", "epsilon_refuted": "ε refuted"}


def markdown(name: str) -> str:
    """The table of an experiment: of a run, of a sweep over attacks, or of one over a setting."""
    if facts(name).is_file():
        return scorers(read_run(name))
    rows = read_rows(table(name))
    return attacks(rows) if "p_holm" in rows[0] else settings(rows)


def scorers(results: Results) -> str:
    """A row for each scorer of a run, as its name is in the paper."""
    lines = heading(["", *METRICS.values()])
    for scorer, each in sorted(results.scorers.items(), key=lambda item: item[0] != "stat"):
        name = {"stat": "SecMI_stat", "nn": "SecMI_NN"}[scorer]
        lines.append(line([name, *(str(each.estimate(metric)) or "not resolved" for metric in METRICS)]))
    return "\n".join(lines)


def attacks(rows: list[Row]) -> str:
    """A row for each attack, by AUC; in several contests where not all share their samples."""
    contest = ["contest"] if "contest" in rows[0] else []
    columns = METRICS | {name: title for name, title in LOW_FPR.items() if any(row.get(name) for row in rows)}
    lines = heading([*contest, "attack", *columns.values(), "queries", "seconds", "p (Holm)"])
    for row in rows:
        p = f"{float(row['p_holm']):.2g}" if row["p_holm"] else "best"
        metrics = (shown(row, name) for name in columns)
        cost = [row["queries_per_sample"], f"{float(row['seconds']):.1f}", p]
        lines.append(line([*(row[each] for each in contest), row["attack"], *metrics, *cost]))
    return "\n".join(lines)


def settings(rows: list[Row]) -> str:
    """A row for each value of what was swept, with its metrics."""
    names = swept(rows)
    columns = {
        name: title for name, title in (METRICS | QUALITY | PRIVACY).items() if any(row.get(name) for row in rows)
    }
    lines = heading([*names, *columns.values(), "queries"])
    for row in rows:
        values = [row[name].replace("\\", "") for name in names]
        lines.append(line([*values, *(shown(row, name) for name in columns), row["queries_per_sample"]]))
    return "\n".join(lines)


def swept(rows: list[Row]) -> list[str]:
    """What the jobs of a sweep differ in."""
    given = list(rows[0])[1 : list(rows[0]).index("auc")]
    return swept_settings([{name: row[name] for name in given} for row in rows])


def shown(row: Row, name: str) -> str:
    """Such as 0.898 [0.865, 0.923]."""
    if name in PRIVACY:
        return f"{float(row[name]):.3g}" if row[name] else "∞"
    return str(Estimate.from_row(row, name)) or "not resolved"


def heading(titles: list[str]) -> list[str]:
    """Titles and rule."""
    return [line(titles), "|---" * len(titles) + "|"]


def line(cells: list[str]) -> str:
    """A row.

    >>> line(["a|b", "0.5"])
    '| a\\\\|b | 0.5 |'
    """
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
