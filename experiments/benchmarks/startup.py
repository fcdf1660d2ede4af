"""Seconds from the command to its first training step, to its first predicted batch, and to the end of a stored run."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from experiments.benchmarks.measure import ROUNDS, Figure

REPOSITORY = Path(__file__).parents[2]
MARKS = {"Training": "first training step", "Predicting": "first predicted batch"}
"""Bar → what it shows first; bars are drawn four times a second."""


def benchmark(device: torch.device) -> list[Figure]:
    """Each command from a process of its own, the store being empty, without t-errors, or complete."""
    command = [sys.executable, "-m", "secmi_exp", "+attack=stat", "experiment=smoke", "logger=none"]
    command += [f"trainer.accelerator={device.type}", "dataset=digits"]
    seconds: dict[str, list[float]] = {what: [] for what in (*MARKS.values(), "end of a stored run", "end of --help")}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            first = watched(command, Path(folder))
            seconds["first training step"].append(first["Training"])
            again = watched([*command, "attack.t_max=200"], Path(folder))
            seconds["first predicted batch"].append(again["Predicting"])
            seconds["end of a stored run"].append(watched(command, Path(folder))["end"])
            seconds["end of --help"].append(watched([*command[:3], "--help"], Path(folder))["end"])
    return [Figure.of("start-up", what, values, "s") for what, values in seconds.items()]


def watched(command: list[str], folder: Path) -> dict[str, float]:
    """When each bar first showed something done, and when the command ended.

    Raises:
        RuntimeError: where it fails.
    """
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "FORCE_COLOR": "1", "COLUMNS": "120"}
    started, seen, text = time.perf_counter(), dict[str, float](), ""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stderr
    while piece := process.stderr.read(4096):
        text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", piece.decode("utf-8", "replace"))
        for bar in MARKS:
            if bar not in seen and re.search(rf"{bar}(?: \w+)? \S+ [1-9]\d*/", text):
                seen[bar] = time.perf_counter() - started
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} has failed:\n{text}")
    return seen | {"end": time.perf_counter() - started}
