"""Run the experiments at laptop scale, keep their results, and renew the tables and figures of experiments/README.md.

python -m experiments.reproduce                       # all: four hours on two CPU cores
python -m experiments.reproduce members timesteps     # some of them
python -m experiments.reproduce --redraw              # run nothing, draw tables and figures from what was kept

What was computed before is reused, so that a run that was stopped goes on.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from experiments import claims, drawings
from experiments.benchmarks.measure import cpu_lines
from experiments.kept import (
    RESULTS,
    keep_audits,
    keep_comparison,
    keep_many_runs,
    keep_precision,
    keep_repeated_comparison,
    keep_run,
    keep_summary,
)
from experiments.tables import markdown
from secmi_exp.data.decoding_processes import usable_processors
from secmi_exp.reporting.results_file import read_results

HERE = Path(__file__).parent
FIGURES, PROVENANCE = HERE / "figures", RESULTS / "experiments.json"
PAGES = HERE / "README.md", HERE.parent / "README.md", HERE.parent / "docs/quickstart.md"


@dataclass(frozen=True)
class Experiment:
    """A command, what of its outcome is kept, and the figures that are drawn from that."""

    arguments: tuple[str, ...]
    """Of `python -m secmi_exp`."""
    keep: Callable[[Path, str], None]
    """Takes the directory that the command ends with, and the experiment's name."""
    figures: Mapping[str, Callable[[str, Path], None]] = field(default_factory=dict)
    """What the figure's file name ends with, after the experiment's name → drawing."""


FACES = ("-m", "+attack=stat", "dataset=lfw", "split.attack_train=0.4", "target.batch_size=25")
TIMESTEPS = "attack.t_sec=range(10,101,10)"
UNDEFENDED = ("+attack=stat", "dataset=digits")
FOREIGN = (
    "-m", "+attack=stat,pia,loss", "target=module", "target.factory=tests.support.foreign_mnist.ForeignMNIST",
    "target.weights=tests/foreign/ddpm_mnist.pt", "target.prefix=network.", "target.prediction=epsilon",
    "target.path={kind: ddpm, num_train_timesteps: 1000, beta_schedule: linear, beta_start: 0.0001, beta_end: 0.02}",
    "dataset=image_folder", "dataset.members=tests/foreign/train.parquet", "dataset.holdout=tests/foreign/test.parquet",
    "dataset.image_size=28", "dataset.channels=1",
)  # fmt: skip
AXES = {"": drawings.axes}
RUN = {
    "_relative_t_error": drawings.relative_t_error,
    "_t_errors": drawings.t_errors,
    "_roc": drawings.roc,
    "_roc_log": drawings.roc_log,
}
EXPERIMENTS = {
    "quickstart": Experiment(("+attack=nn", "dataset=digits"), keep_run, RUN),
    "datasets": Experiment(("experiment=datasets",), keep_comparison),
    "attacks": Experiment(("experiment=attacks",), keep_comparison, {"": drawings.cost}),
    "timesteps": Experiment(("experiment=timesteps",), keep_summary, AXES),
    "interval": Experiment(("experiment=interval",), keep_summary, AXES),
    "training_length": Experiment(("experiment=training_length",), keep_summary, AXES),
    "members": Experiment(("experiment=members",), keep_summary, AXES),
    "averaging": Experiment(("experiment=averaging",), keep_summary, AXES),
    "defenses": Experiment(("experiment=defenses",), keep_summary, {"": drawings.tradeoff}),
    "dp_sgd": Experiment(("experiment=dp_sgd",), keep_summary, {"": drawings.tradeoff}),
    "undefended_audit": Experiment(UNDEFENDED, keep_audits),
    "dp_audit": Experiment(("experiment=dp_audit",), keep_audits, {"": drawings.audits}),
    "many_run_audit": Experiment(("experiment=many_run_audit",), keep_many_runs),
    "prompts": Experiment(("experiment=prompts",), keep_summary, AXES),
    "families": Experiment(("experiment=families",), keep_summary, AXES),
    "mnist": Experiment(("experiment=mnist",), keep_repeated_comparison, {"": drawings.learning_curve}),
    "faces": Experiment((*FACES, "target.max_steps=1500", TIMESTEPS), keep_summary, AXES),
    "faces_3000_steps": Experiment(
        (*FACES, "target.max_steps=3000", "target.horizontal_flip=false", TIMESTEPS), keep_summary, AXES
    ),
    "frontier": Experiment(("experiment=frontier",), keep_summary, {"": drawings.frontier}),
    "frontier_others": Experiment(("-m", "+attack=pia,sima", "dataset=digits,mnist5k"), keep_comparison),
    "approach_precision": Experiment(("experiment=approach_precision",), keep_precision),
    "foreign": Experiment(FOREIGN, keep_comparison),
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--redraw", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(EXPERIMENTS)
    if unknown:
        parser.error(f"there is no experiment {', '.join(sorted(unknown))}: choose from {', '.join(EXPERIMENTS)}")
    names = [] if arguments.redraw else arguments.names or list(EXPERIMENTS)
    for number, name in enumerate(names, 1):
        sys.stderr.write(f"{number} of {len(names)}: {name} …\n")
        keep(name, *run(EXPERIMENTS[name]))
    for name in json.loads(PROVENANCE.read_text(encoding="utf-8")):
        for ending, draw in EXPERIMENTS[name].figures.items():
            draw(name, FIGURES / f"{name}{ending}.png")
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


def run(experiment: Experiment) -> tuple[Path, float]:
    """Carry it out; the directory that it ends with, and the seconds that it took."""
    started = time.monotonic()
    command = [sys.executable, "-m", "secmi_exp", *experiment.arguments, "logger=none"]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(finished.stdout.splitlines()[-1]), time.monotonic() - started


def keep(name: str, folder: Path, seconds: float) -> None:
    """Keep what was found, and note where and when."""
    experiment = EXPERIMENTS[name]
    experiment.keep(folder, name)
    files = [*folder.glob("results.json"), *folder.glob("*/results.json")]
    jobs = [read_results(file) for file in files]
    kept = json.loads(PROVENANCE.read_text(encoding="utf-8")) if PROVENANCE.is_file() else {}
    kept[name] = {
        "command": " ".join(["python -m secmi_exp", *(quoted(each) for each in experiment.arguments)]),
        "machine": machine(),
        "cores": usable_processors(),
        "date": date.today().isoformat(),
        "seconds": round(seconds),
        "n_member": span([job.n_member for job in jobs if job.n_member is not None]),
        "n_holdout": span([job.n_holdout for job in jobs if job.n_holdout is not None]),
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
    """A page with its blocks of results and claims as they follow from what is kept."""

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}\n{section(found[2])}\n{found[3]}"

    text = re.sub(r"(<!-- results: (\w+) -->)\n.*?(<!-- /results -->)", block, text, flags=re.DOTALL)
    return re.sub(
        r"(<!-- claims -->)\n.*?(<!-- /claims -->)",
        lambda found: f"{found[1]}\n{claims.markdown()}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )


def section(name: str) -> str:
    """Command, where and when, and the table of an experiment."""
    told = json.loads(PROVENANCE.read_text(encoding="utf-8"))[name]
    where = f"{told['cores']} cores of {told['machine']}, {told['date']}, {told['seconds']} s with what the store had"
    judged = f"{told['n_member']} members and {told['n_holdout']} hold-outs that nothing was fitted on"
    return f"`{told['command']}`: {where}; {judged}.\n\n{markdown(name)}"


if __name__ == "__main__":
    main()
