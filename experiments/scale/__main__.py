"""Scale on paper and by simulation: `python -m experiments.scale NAME …`; without a name: the last figures."""

import argparse
import sys
import warnings
from pathlib import Path

import torch

from experiments.benchmarks.measure import Figure, machine, markdown, save, show
from experiments.scale import paper, simulation

RESULTS = Path(__file__).parents[1] / "results/scale.json"


def main() -> None:
    """Run what is asked for, and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="paper, runs, writers")
    parser.add_argument("--images", type=int, nargs="+", help="sizes of the runs, or how many the writers have")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {"paper", "runs", "writers"}:
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from paper, runs, writers")
    warnings.filterwarnings("ignore")
    on = machine(torch.device("cpu"))
    for name in arguments.names:
        if name == "paper":
            keep(paper.figures(), on)
        elif name == "runs":
            simulation.warm_up()
            for n in arguments.images or simulation.SIZES:
                keep(simulation.measure_run(n), on)
        else:
            for jobs in simulation.kinds_of_jobs(*(arguments.images or ())):
                keep(jobs(), on)
    if not arguments.names:
        sys.stdout.write(markdown(RESULTS) + "\n")


def keep(figures: list[Figure], on: str) -> None:
    """Print figures, and keep them."""
    show(figures, on)
    save(RESULTS, figures, on)


if __name__ == "__main__":
    main()
