"""Tables of experiments/README.md from the result files that were kept.

python -m experiments.tables experiments/results/attacks_digits.csv     # comparison.csv of a sweep over attacks
python -m experiments.tables experiments/results/faces_timesteps.csv    # summary.csv of a sweep over attack.t_sec
"""

import csv
import sys
from pathlib import Path

COLUMNS = {"auc": "AUC", "asr": "ASR", "accuracy_calibrated": "accuracy, calibrated", "tpr_at_1pct_fpr": "TPR @ 1% FPR"}


def markdown(file: Path) -> str:
    """The table of a file, by what it holds."""
    with file.open(newline="", encoding="utf-8") as content:
        rows = list(csv.DictReader(content))
    return attacks(rows) if "p_holm" in rows[0] else timesteps(rows)


def attacks(rows: list[dict[str, str]]) -> str:
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


def timesteps(rows: list[dict[str, str]]) -> str:
    """AUC with the ends of its interval, a column for each timestep."""
    cells = {"t_sec": [row["attack.t_sec"] for row in rows]}
    for label, name in (("AUC", "auc"), ("from", "auc_low"), ("to", "auc_high")):
        cells[label] = [f"{float(row[name]):.3f}" for row in rows]
    lines = [f"| {label} | {' | '.join(values)} |" for label, values in cells.items()]
    return "\n".join([lines[0], "|---" * (len(rows) + 1) + "|", *lines[1:]])


def interval(row: dict[str, str], name: str) -> str:
    """Such as 0.898 [0.865, 0.923]."""
    if not row[name]:
        return "not resolved"
    return "{:.3f} [{:.3f}, {:.3f}]".format(*(float(row[f"{name}{end}"]) for end in ("", "_low", "_high")))


if __name__ == "__main__":
    print("\n\n".join(markdown(Path(file)) for file in sys.argv[1:]))
