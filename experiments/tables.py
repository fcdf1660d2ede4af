"""The tables of experiments/README.md, each made of what was kept in results/."""

from experiments.kept import Row, facts, read_rows, read_run, table
from secmi_exp.reporting.results_file import Estimate, Results
from secmi_exp.reporting.run_folders import swept_settings

METRICS = {"auc": "AUC", "asr": "ASR", "accuracy_calibrated": "accuracy, calibrated", "tpr_at_1pct_fpr": "TPR @ 1% FPR"}
LOW_FPR = {"tpr_at_0.1pct_fpr": "TPR @ 0.1% FPR"}
"""Shown where the hold-outs are enough for it."""
QUALITY = {"denoising_loss": "loss on hold-outs", "kernel_distance": "kernel distance of samples"}
BOUNDS = {
    "epsilon_by_itself": "each image by itself",
    "epsilon_one_run": "one run, all guessed",
    "epsilon_abstaining": "one run, most confident",
    "epsilon_gaussian": "the same, for Gaussian noise",
}
"""Lower bounds on ε of a run."""
PRIVACY = {"epsilon_spent": "ε spent", "epsilon_refuted": "ε refuted"}


def markdown(name: str) -> str:
    """The table of an experiment: of a run, of a sweep over attacks, or of one over a setting."""
    if facts(name).is_file():
        return scorers(read_run(name))
    rows = read_rows(table(name))
    if "epsilon_abstaining" in rows[0]:
        return audits(rows)
    if "highest_possible" in rows[0]:
        return many_runs(rows)
    if "difference" in rows[0]:
        return precisions(rows)
    if "attack.approach_k" in rows[0]:
        return best_by_queries(rows)
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


def best_by_queries(rows: list[Row]) -> str:
    """The settings with the highest AUC at each number of queries, of walks in steps of k and of others."""
    best: dict[tuple[str, int, bool], Row] = {}
    for row in rows:
        place = row["dataset"], int(row["queries_per_sample"]), walks_in_steps_of_k(row)
        if place not in best or float(row["auc"]) > float(best[place]["auc"]):
            best[place] = row
    lines = heading(["dataset", "queries", "t_sec", "k", "on the way", "AUC"])
    for dataset, queries, walked in sorted(best):
        row = best[dataset, queries, walked]
        way = "steps of k" if walked else f"steps of {row['attack.approach_k']}"
        lines.append(line([dataset, str(queries), row["attack.t_sec"], row["attack.k"], way, shown(row, "auc")]))
    return "\n".join(lines)


def walks_in_steps_of_k(row: Row) -> bool:
    """Whether a job of SecMI made no longer steps on the way to t_sec: nor can it where that is one step of k."""
    t_sec, k = int(row["attack.t_sec"]), int(row["attack.k"])
    return row["attack.approach_k"] in ("null", str(k)) or t_sec - k <= k


def precisions(rows: list[Row]) -> str:
    """A row for each timestep and dataset: what low precision of the approach changes."""
    lines = heading(
        ["dataset", "t_sec", "approach", "AUC", "less that of float32, paired", "t-errors move by", "queries"]
    )
    for row in rows:
        difference = [f"{float(row[name]):+.4f}" for name in ("difference", "difference_low", "difference_high")]
        lines.append(
            line(
                [
                    row["dataset"], row["attack.t_sec"], row["precision"], shown(row, "auc"),
                    f"{difference[0]} [{difference[1]}, {difference[2]}]", f"{100 * float(row['deviation']):.2f}%",
                    row["queries_per_sample"],
                ]
            )
        )  # fmt: skip
    return "\n".join(lines)


def audits(rows: list[Row]) -> str:
    """A row for each training: lower bounds on its ε, and the ε that its accountant states."""
    lines = heading(["settings", "AUC", *(f"ε ≥, {title}" for title in BOUNDS.values()), "ε spent", "guesses"])
    for row in rows:
        bounds = [f"{float(row[name]):.2f}" for name in BOUNDS]
        cells = [f"`{row['settings']}`", shown(row, "auc"), *bounds, shown(row, "epsilon_spent"), row["guesses"]]
        lines.append(line(cells))
    return "\n".join(lines)


def many_runs(rows: list[Row]) -> str:
    """A row for each sweep over seeds: its bound on ε, and what that was counted from."""
    lines = heading(
        [
            "trainings", "judged with the canary", "missed", "judged without it", "falsely called", "ε ≥",
            "the highest that so many judged can give", "δ", "confidence",
        ]
    )  # fmt: skip
    for row in rows:
        counts = [row[name] for name in ("trainings", "with", "missed", "without", "falsely_called")]
        bounds = [f"{float(row[name]):.2f}" for name in ("epsilon", "highest_possible")]
        lines.append(line([*counts, *bounds, f"{float(row['delta']):g}", f"{float(row['confidence']):.0%}"]))
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
