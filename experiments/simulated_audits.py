"""Bounds on ε of simulated Gaussian mechanisms, whose ε is known: how near they come, and how often they exceed it.

python -m experiments.simulated_audits [--runs 300]

A mechanism gives each of its samples, in or out by a fair coin, a value N(μ · coin, 1): it is μ-GDP, and no
attack on it does better than these values. An audit has 400 samples, and 100 others to choose the number of guesses on.
"""

import argparse
from pathlib import Path

import numpy as np

from experiments.kept import RESULTS, Row, read_rows
from secmi_exp.evaluation.gaussian_privacy import gaussian_epsilon, largest_refuted_mu
from secmi_exp.evaluation.one_run import one_run_epsilon
from secmi_exp.evaluation.one_run_audit import audit
from secmi_exp.evaluation.proportions import clopper_pearson
from secmi_exp.evaluation.roc import Roc
from secmi_exp.evaluation.scored import Floats, Scored
from secmi_exp.reporting.drawing import COLOURS, figure_with_axes, remove_box
from secmi_exp.reporting.table_files import write_csv

TABLE = RESULTS / "simulated_audits.csv"
FIGURE = Path(__file__).parent / "figures/simulated_audits.png"
MUS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
SAMPLES, OTHERS, DELTA = 400, 100, 1e-5
BOUNDS = {
    "one_run": "one run, all guessed",
    "gaussian_all": "one run, all guessed, for Gaussian noise",
    "abstaining": "one run, most confident guesses",
    "gaussian": "one run, most confident guesses, for Gaussian noise",
}


def bounds(mu: float, runs: int, seed: int = 0) -> dict[str, Floats]:
    """Each bound in each of so many mechanisms, [runs]."""
    rng = np.random.default_rng(seed)
    found = np.empty((runs, len(BOUNDS)))
    for run in range(runs):
        evaluation, calibration = (mechanism(rng, n, mu) for n in (SAMPLES, OTHERS))
        threshold, _ = Roc.from_scores(calibration.scores, calibration.is_member).best_threshold()
        correct = int(((evaluation.scores >= threshold) == evaluation.is_member).sum())
        audited = audit(evaluation, calibration, delta=DELTA)
        found[run] = (
            one_run_epsilon(correct, SAMPLES, SAMPLES, delta=DELTA),
            gaussian_epsilon(largest_refuted_mu(correct, SAMPLES, SAMPLES), DELTA),
            audited.epsilon,
            audited.gaussian_epsilon,
        )
    return dict(zip(BOUNDS, found.T, strict=True))


def mechanism(rng: np.random.Generator, samples: int, mu: float) -> Scored:
    """What a μ-GDP mechanism gives of samples with fair coins."""
    is_member = rng.random(samples) < 0.5
    return Scored(rng.normal(mu * is_member), is_member)


def rows(runs: int) -> list[dict[str, float | int]]:
    """A row for each μ: true ε, and median and number above it of each bound."""
    table: list[dict[str, float | int]] = []
    for mu in MUS:
        truth = gaussian_epsilon(mu, DELTA)
        row: dict[str, float | int] = {"mu": mu, "epsilon": round(truth, 4), "runs": runs}
        for name, epsilons in bounds(mu, runs).items():
            row |= {name: round(float(np.median(epsilons)), 4), f"{name}_above": int((epsilons > truth).sum())}
        table.append(row)
    return table


def draw(table: list[Row], path: Path) -> None:
    """Median bounds over the true ε."""
    truth = [float(row["epsilon"]) for row in table]
    with figure_with_axes(path, (6.4, 4.2)) as (_, (axes,)):
        axes.plot(truth, truth, color="black", linewidth=1, label="true ε")
        for colour, (name, label) in zip(COLOURS, BOUNDS.items(), strict=False):
            axes.plot(truth, [float(row[name]) for row in table], color=colour, marker="o", markersize=4, label=label)
        axes.set_xlabel(f"true ε of the mechanism at δ = {DELTA:g}")
        axes.set_ylabel("lower bound on ε, median")
        axes.legend(frameon=False, fontsize=8)
        remove_box(axes)


def main() -> None:
    """Simulate, keep, draw, and print how often each bound exceeds the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    write_csv(TABLE, rows(parser.parse_args().runs))
    table = read_rows(TABLE)
    draw(table, FIGURE)
    trials = sum(int(row["runs"]) for row in table)
    for name, label in BOUNDS.items():
        above = sum(int(row[f"{name}_above"]) for row in table)
        low, high = clopper_pearson(above, trials)
        print(
            f"{label}: above the true ε in {above} of {trials} mechanisms, {above / trials:.1%} [{low:.1%}, {high:.1%}]"
        )


if __name__ == "__main__":
    main()
