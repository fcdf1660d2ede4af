"""Run the experiments at laptop scale, keep their results, and renew the tables and figures of experiments/README.md.

python -m experiments.reproduce                       # all: about half an hour on two CPU cores
python -m experiments.reproduce members timesteps     # some of them
python -m experiments.reproduce --tables              # run nothing, renew the tables from what was kept

What was computed before is reused, so that a run that was stopped goes on.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from experiments.benchmarks.measure import cpu_lines
from experiments.tables import markdown
from secmi_exp.runtime import usable_processors

HERE = Path(__file__).parent
RESULTS, FIGURES, README = HERE / "results", HERE / "figures", HERE / "README.md"
PROVENANCE = RESULTS / "experiments.json"


@dataclass(frozen=True)
class Experiment:
    """A sweep, and what of it is kept."""

    arguments: tuple[str, ...]
    """Of `python -m secmi_exp`."""
    table: str = "summary.csv"
    figure: str | None = "sweep.png"


FACES = ("-m", "+attack=stat", "dataset=lfw", "split.attack_train=0.4", "target.batch_size=25")
TIMESTEPS = "attack.t_sec=range(10,101,10)"
EXPERIMENTS = {
    "attacks": Experiment(("experiment=attacks",), "comparison.csv", "comparison_cost.png"),
    "timesteps": Experiment(("experiment=timesteps",)),
    "interval": Experiment(("experiment=interval",)),
    "training_length": Experiment(("experiment=training_length",)),
    "members": Experiment(("experiment=members",)),
    "averaging": Experiment(("experiment=averaging",), figure=None),
    "defenses": Experiment(("experiment=defenses",)),
    "prompts": Experiment(("experiment=prompts",), figure=None),
    "faces": Experiment((*FACES, "target.max_steps=1500", TIMESTEPS), figure=None),
    "faces_3000_steps": Experiment(
        (*FACES, "target.max_steps=3000", "target.horizontal_flip=false", TIMESTEPS), figure=None
    ),
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--tables", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(EXPERIMENTS)
    if unknown:
        parser.error(f"there is no experiment {', '.join(sorted(unknown))}: choose from {', '.join(EXPERIMENTS)}")
    names = [] if arguments.tables else arguments.names or list(EXPERIMENTS)
    for number, name in enumerate(names, 1):
        sys.stderr.write(f"{number} of {len(names)}: {name} …\n")
        keep(name, *run(EXPERIMENTS[name]))
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")


def run(experiment: Experiment) -> tuple[Path, float]:
    """Carry it out; the sweep's directory, and the seconds that it took."""
    started = time.monotonic()
    command = [sys.executable, "-m", "secmi_exp", *experiment.arguments, "logger=none"]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(finished.stdout.splitlines()[-1]), time.monotonic() - started


def keep(name: str, sweep: Path, seconds: float) -> None:
    """Copy table and figure, and note where and when they were made."""
    experiment = EXPERIMENTS[name]
    shutil.copyfile(sweep / experiment.table, RESULTS / f"{name}.csv")
    if experiment.figure:
        shutil.copyfile(sweep / experiment.figure, FIGURES / f"{name}.png")
    jobs = [json.loads(file.read_text(encoding="utf-8")) for file in sweep.glob("*/results.json")]
    kept = json.loads(PROVENANCE.read_text(encoding="utf-8")) if PROVENANCE.is_file() else {}
    kept[name] = {
        "command": " ".join(["python -m secmi_exp", *(quoted(each) for each in experiment.arguments)]),
        "machine": machine(),
        "cores": usable_processors(),
        "date": date.today().isoformat(),
        "seconds": round(seconds),
        "n_member": span([job["n_member"] for job in jobs]),
        "n_holdout": span([job["n_holdout"] for job in jobs]),
    }
    PROVENANCE.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def span(numbers: list[int]) -> str:
    """One number, or the least and the greatest.

    >>> span([205, 205]), span([410, 51, 102])
    ('205', '51 … 410')
    """
    return " … ".join(str(each) for each in dict.fromkeys((min(numbers), max(numbers))))


def quoted(argument: str) -> str:
    """As a shell takes it."""
    return f'"{argument}"' if re.search(r"[(){}\s]", argument) else argument


def machine() -> str:
    """The processor."""
    found = next((line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")), "")
    return found or platform.machine()


def renewed(text: str) -> str:
    """The README with the block of each experiment that has results as they are kept."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}\n{section(found[2])}\n{found[3]}"

    return re.sub(r"(<!-- results: (\w+) -->)\n.*?(<!-- /results -->)", block, text, flags=re.DOTALL)


def section(name: str) -> str:
    """Command, where and when, and the table of an experiment."""
    told = json.loads(PROVENANCE.read_text(encoding="utf-8"))[name]
    where = f"{told['cores']} cores of {told['machine']}, {told['date']}, {told['seconds']} s with what the store had"
    judged = f"{told['n_member']} members and {told['n_holdout']} hold-outs that nothing was fitted on"
    return f"`{told['command']}`: {where}; {judged}.\n\n{markdown(RESULTS / f'{name}.csv')}"


if __name__ == "__main__":
    main()
