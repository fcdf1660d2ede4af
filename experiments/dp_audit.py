"""Lower bounds on the ε of several trainings beside the ε that their accountant states: a table and a figure.

python -m experiments.dp_audit RUN …

A RUN is the directory of a run or a sweep of an attack that gives one score. Rows are added to results/dp_audit.csv, in
the place of those with the same settings; figures/dp_audit.png has them all.
"""

import argparse
from pathlib import Path

from experiments.kept import Row, read_rows, table
from experiments.tables import heading, line
from secmi_exp.reporting.drawing import COLOURS, figure_with_axes, remove_box
from secmi_exp.reporting.results_file import Estimate
from secmi_exp.reporting.run_folders import FinishedRun, find_runs
from secmi_exp.reporting.table_files import write_csv

TABLE = table("dp_audit")
FIGURE = Path(__file__).parent / "figures/dp_audit.png"
BOUNDS = {
    "epsilon_by_itself": "each image by itself",
    "epsilon_one_run": "one run, all guessed",
    "epsilon_abstaining": "one run, most confident",
    "epsilon_gaussian": "the same, for Gaussian noise",
}
UNTOLD = ("logger", "trainer", "paths.output", "hydra")
"""Settings that decide no number."""


def row(run: FinishedRun) -> dict[str, str | float | None]:
    """What a run found of the ε of its target's training.

    Raises:
        ValueError: where it has no audit, as its members and hold-outs are of different numbers.
    """
    results, bound = run.results, run.results.epsilon_lower_bound
    if bound is None or bound.abstaining is None:
        raise ValueError(f"{run.folder} has no bounds of one run.")
    settings = " ".join(f"{name}={value}" for name, value in run.overrides.items() if not name.startswith(UNTOLD))
    return {
        "settings": settings,
        **results.estimate("auc").columns("auc"),
        "epsilon_by_itself": bound.epsilon,
        "epsilon_one_run": bound.one_run,
        "epsilon_abstaining": bound.abstaining.epsilon,
        "epsilon_gaussian": bound.abstaining.epsilon_gaussian,
        "epsilon_spent": results.privacy.epsilon if results.privacy else None,
        "guesses": str(bound.abstaining),
        "membership": bound.membership,
    }


def markdown(rows: list[Row]) -> str:
    """A row for each training."""
    lines = heading(["settings", "AUC", *(f"ε ≥, {title}" for title in BOUNDS.values()), "ε spent", "guesses"])
    for each in rows:
        values = [f"{float(each[name]):.2f}" for name in BOUNDS]
        spent = f"{float(each['epsilon_spent']):.3g}" if each["epsilon_spent"] else "∞"
        auc = str(Estimate.from_row(each, "auc"))
        lines.append(line([f"`{each['settings']}`", auc, *values, spent, each["guesses"]]))
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """The bounds as points, and the ε spent as a stroke."""
    labels = [each["settings"].replace(" ", "\n") for each in rows]
    height = 1.2 + 0.14 * sum(label.count("\n") + 2 for label in labels)
    with figure_with_axes(path, (7.6, height)) as (_, ((axes,),)):
        for place, (name, title) in enumerate(BOUNDS.items()):
            at = [number - 0.21 + 0.14 * place for number in range(len(rows))]
            values = [float(each[name]) for each in rows]
            axes.plot(values, at, "o", color=COLOURS[place], markersize=5, label=f"ε ≥, {title}")
        spent = [(float(each["epsilon_spent"]), place) for place, each in enumerate(rows) if each["epsilon_spent"]]
        if spent:
            axes.plot(*zip(*spent, strict=True), "|", color="black", markersize=14, label="ε spent (opacus)")
        axes.set_xlim(left=-0.2)
        axes.set_yticks(range(len(rows)), labels, fontsize=7)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("ε of differential privacy; bounds with 95% confidence each")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        remove_box(axes)


def main() -> None:
    """Keep the bounds of the runs, draw, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    runs = parser.parse_args().runs
    new = [row(run) for run in find_runs(runs).finished] if runs else []
    old = read_rows(TABLE) if TABLE.is_file() else []
    told = {each["settings"] for each in new}
    write_csv(TABLE, [*(each for each in old if each["settings"] not in told), *new])
    rows = read_rows(TABLE)
    draw(rows, FIGURE)
    print(markdown(rows))


if __name__ == "__main__":
    main()
