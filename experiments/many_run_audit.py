"""A lower bound on ε from the targets of a sweep over seeds, each trained with some canaries and without the others.

python -m secmi_exp -m +attack=stat canaries=noise canaries.count=40 seed="range(60)" split.seed=0
python -m experiments.many_run_audit SWEEP

SWEEP is the directory that the first command prints at its end. Canary and threshold are chosen on the first third of
the jobs, and the others are the trials: see `secmi_exp.evaluation.many_runs`. The canaries that are judged are those of
the evaluation part, which each seed draws anew. Scores are standardised within each training, over all of its canaries
and without their coins: targets that have learnt more or less call for one threshold then. It changes nothing in what
the bound rests on, as the scores remain functions of the target.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from secmi_exp.errors import UserError
from secmi_exp.evaluation.many_runs import ManyRunBound, many_run_bound
from secmi_exp.evaluation.scored import Bools, Floats
from secmi_exp.reporting.results_file import Results, read_results


def read_sweep(folder: Path) -> tuple[list[str], Floats, Bools, Results]:
    """Canaries, their scores and coins in each job, NaN where a job doesn't judge one, and the last job's results.

    Returns:
        Ids [canaries], standardised scores and coins [jobs, canaries], results.

    Raises:
        UserError: where there are no jobs with canaries.
    """
    jobs = sorted((path.parent for path in folder.glob("*/results.json")), key=lambda path: (len(path.name), path.name))
    told = [read_results(job / "results.json") for job in jobs]
    tables = [pq.read_table(job / "scores.parquet").to_pydict() for job in jobs]
    ids = sorted({name for table in tables for name in table["id"] if name.startswith("canary/")})
    if not ids:
        raise UserError(f"{folder} has no jobs with canaries: sweep over seed with canaries=noise.")
    column = {name: place for place, name in enumerate(ids)}
    scores, included = np.full((len(jobs), len(ids)), np.nan), np.zeros((len(jobs), len(ids)), dtype=bool)
    for job, (results, table) in enumerate(zip(told, tables, strict=True)):
        of_canaries = [name in column for name in table["id"]]
        raw = np.array(table[f"score_{results.attack}"])
        own = raw[of_canaries]
        standardised = (raw - own.mean()) / own.std()
        values = zip(table["id"], table["part"], table["is_member"], standardised, strict=True)
        for name, part, member, score in values:
            if part == "evaluation" and name in column:
                scores[job, column[name]], included[job, column[name]] = score, member
    return ids, scores, included, told[-1]


def sentence(bound: ManyRunBound, ids: list[str]) -> str:
    """What was found, and on how many trainings."""
    counts = bound.outcome
    return (
        f"ε ≥ {bound.epsilon:.2f} at δ = {bound.delta:g} with {bound.confidence:.0%} confidence, from "
        f"{ids[bound.image]}: {counts.false_negatives:g} of {counts.n_member} trainings with it were missed, "
        f"{counts.false_positives:g} of {counts.n_holdout} without it falsely called. "
        f"No outcome of so many trainings refutes more than ε = {bound.highest_possible:.2f}."
    )


def main() -> None:
    """Print the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--delta", type=float, default=1e-5)
    arguments = parser.parse_args()
    try:
        ids, scores, included, results = read_sweep(arguments.sweep)
        print(sentence(many_run_bound(scores, included, delta=arguments.delta), ids))
    except UserError as error:
        parser.error(str(error))
    if results.privacy and results.privacy.epsilon is not None:
        print(f"The accountant of the training states ε = {results.privacy.epsilon:.3g}.")


if __name__ == "__main__":
    main()
