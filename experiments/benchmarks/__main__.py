"""All benchmarks, or those that are named; prints a table and keeps the figures in experiments/results.

python -m experiments.benchmarks                     # all: half an hour on two CPU cores
python -m experiments.benchmarks queries training    # some of them
python -m experiments.benchmarks attacks             # of all attacks but stat and nn, which are queries' subject
python -m experiments.benchmarks precision --device cuda
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from experiments.benchmarks import (
    attacks,
    large_targets,
    latent_memory,
    memory,
    overhead,
    precision,
    queries,
    startup,
    training,
)
from experiments.benchmarks.measure import Figure, machine, markdown, save, show

RESULTS = Path(__file__).parents[1] / "results"


def benchmarks(device: torch.device) -> Mapping[str, Callable[[], list[Figure]]]:
    """Name → benchmark; on a GPU with as much work as fills it."""
    gpu = device.type == "cuda"
    many = 4096 if gpu else 2048
    return {
        "queries": lambda: [
            *queries.benchmark(device, "small", 512, 300, sweep=True),
            *queries.benchmark(device, "small", many, 100, sweep=False),
            *queries.benchmark(device, "paper", many if gpu else 32, 100, sweep=False),
        ],
        "approach": lambda: queries.approach(device, "paper", many if gpu else 32, 100),
        "queries_paper": lambda: queries.benchmark(device, "paper", 1024 if gpu else 2, 300, sweep=True),
        "attacks": lambda: attacks.benchmark(device, 2**17 if gpu else attacks.QUERIES),
        "training": lambda: [
            *training.benchmark(device, "small", 64, 100),
            *training.benchmark(device, "paper", 128 if gpu else 4, 50 if gpu else 4),
            *(training.benchmark(device, "paper", 128, 100, precision="bf16", compile=True) if gpu else []),
        ],
        "memory": lambda: memory.benchmark(device),
        "latent_memory": lambda: latent_memory.benchmark(device),
        "overhead": lambda: overhead.benchmark(device, 10_000, 1024 if gpu else 64),
        "precision": lambda: [
            *precision.drift(device, Path(tempfile.gettempdir()) / "secmi_exp_benchmarks"),
            *(precision.throughput(device, 8192) if gpu else []),
        ],
        "startup": lambda: startup.benchmark(device),
        "large_targets": lambda: large_targets.benchmark(device, stored=5, swept=1, jobs=20),
    }


def main() -> None:
    """Run what is asked for."""
    default = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(benchmarks(default)))
    parser.add_argument("--device", type=torch.device, default=default, help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print the kept figures as a table, run nothing")
    arguments = parser.parse_args()
    results = RESULTS / f"benchmarks_{arguments.device.type}.json"
    if arguments.markdown:
        print(markdown(results))
        return
    known = benchmarks(arguments.device)
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    warnings.filterwarnings("ignore")
    on = machine(arguments.device)
    for name in arguments.names or known:
        sys.stderr.write(f"{name} …\n")
        figures = known[name]()
        show(figures, on)
        save(results, figures, on)


if __name__ == "__main__":
    main()
