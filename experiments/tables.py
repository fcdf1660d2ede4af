"""Tables of experiments/README.md from the result files that were kept."""

import csv
from pathlib import Path

from secmi_exp.reporting.jobs import Estimate

COLUMNS = {"auc": "AUC", "asr": "ASR", "accuracy_calibrated": "accuracy, calibrated", "tpr_at_1pct_fpr": "TPR @ 1% FPR"}

Row = dict[str, str]


def markdown(file: Path) -> str:
    """The table of a file: comparison.csv of a sweep over attacks, or summary.csv of one over a setting."""
    with file.open(newline="", encoding="utf-8") as content:
        rows = list(csv.DictReader(content))
    return attacks(rows) if "p_holm" in rows[0] else settings(rows)


def attacks(rows: list[Row]) -> str:
    """A row for each attack, by AUC."""
    lines = [f"| attack | {' | '.join(COLUMNS.values())} | queries | seconds | p (Holm) |", "|---" * 8 + "|"]
    for row in rows:
        metrics = (interval(row, name) for name in COLUMNS)
        p = row["p_holm"] and f"{float(row['p_holm']):.2g}"
        lines.append(
            f"| {row['attack']} | {' | '.join(metrics)} | {row['queries_per_sample']} | {float(row['seconds']):.1f} | "
            f"{p or 'best'} |"
        )
    return "\n".join(lines)


def settings(rows: list[Row]) -> str:
    """A row for each value of what was swept, with its metrics."""
    given = list(rows[0])[1 : list(rows[0]).index("auc")]
    swept = [name for name in given if len({row[name] for row in rows}) > 1]
    shown = [name for name in COLUMNS if any(row[name] for row in rows)]
    lines = [f"| {' | '.join([*swept, *(COLUMNS[name] for name in shown)])} | queries |"]
    lines.append("|---" * (len(swept) + len(shown) + 1) + "|")
    for row in rows:
        values = [row[name].replace("\\", "") for name in swept]
        metrics = (interval(row, name) for name in shown)
        lines.append(f"| {' | '.join([*values, *metrics])} | {row['queries_per_sample']} |")
    return "\n".join(lines)


def interval(row: Row, name: str) -> str:
    """Such as 0.898 [0.865, 0.923]."""
    if not row[name]:
        return "not resolved"
    return str(Estimate(*(float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))))
