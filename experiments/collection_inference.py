"""How often dataset inference finds a collection: p-values of drawn collections of members, and of hold-outs.

python -m experiments.collection_inference RUN [--size 100] [--repeats 1000]

RUN is the directory of a run of `+attack=cdi` (or any other attack). Collections are drawn from the part that nothing
was fitted on: members against hold-outs, and hold-outs against other hold-outs, where every p-value is as likely as
another.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from secmi_exp.errors import UserError
from secmi_exp.evaluation.exposure import collection_p_value
from secmi_exp.reporting.results_file import read_results

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Inference:
    """P-values of drawn collections, [repeats] each."""

    members: Floats
    """Of members against hold-outs."""
    holdouts: Floats
    """Of hold-outs against other hold-outs."""


def infer(members: Floats, holdouts: Floats, size: int, repeats: int, seed: int = 0) -> Inference:
    """Welch's one-sided test, as CDI has it, on drawn collections.

    Args:
        members: scores, at least ``size`` of them.
        holdouts: scores, at least twice as many.
        size: of a collection, and of what it is compared with.
        repeats: draws.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    found = np.empty((repeats, 2))
    for repeat in range(repeats):
        reference, others = np.split(random.permutation(holdouts)[: 2 * size], 2)
        found[repeat, 0] = collection_p_value(random.permutation(members)[:size], reference, test="welch")
        found[repeat, 1] = collection_p_value(others, reference, test="welch")
    return Inference(found[:, 0], found[:, 1])


def main() -> None:
    """Print what was found; nothing of a run whose own warnings say that its figures are no measure of a leak."""
    from scipy.stats import kstest

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1000)
    arguments = parser.parse_args()
    try:
        results = read_results(arguments.run / "results.json")
    except UserError as error:
        parser.error(f"{arguments.run}: {error}")
    for warning in results.graves:
        parser.error(f"the figures of {arguments.run} are no measure of a leak: {warning.sentence}")
    name = results.attack
    table = pq.read_table(arguments.run / "scores.parquet").to_pydict()
    judged = np.array(table["part"]) == "evaluation"
    scores, is_member = np.array(table[f"score_{name}"])[judged], np.array(table["is_member"])[judged]
    if len(scores) // 2 < 2 * arguments.size:
        parser.error(f"--size can be {len(scores) // 4} at most: the run judged {len(scores) // 2} hold-outs.")
    found = infer(scores[is_member], scores[~is_member], arguments.size, arguments.repeats)
    print(f"{name}, {arguments.repeats:,} draws of {arguments.size} against {arguments.size}")
    print(f"members: p < 0.01 in {np.mean(found.members < 0.01):.1%}, largest p {found.members.max():.2g}")
    shares = ", ".join(f"p < {level:g} in {np.mean(found.holdouts < level):.1%}" for level in (0.01, 0.05, 0.5))
    print(
        f"hold-outs: {shares}; Kolmogorov–Smirnov against uniform: p = {kstest(found.holdouts, 'uniform').pvalue:.2f}"
    )


if __name__ == "__main__":
    main()
