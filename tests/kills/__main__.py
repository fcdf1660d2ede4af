"""Kills a command right before, within and right after each of its operations on files, and runs it again each time.

``python -m tests.kills smoke`` does so with one of `COMMANDS` and prints a report in JSON. All that a command imports
is imported once; each trial is a fork of that process, so that hundreds are affordable.
"""

import argparse
import json
import re
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from tests.kills.commands import COMMANDS, command, make_cheap, make_pictures, preload, whole_command
from tests.kills.forks import count_queries, in_fork
from tests.kills.operations import announce_writers_in_c
from tests.kills.trials import fresh, kill_everywhere


def main() -> None:
    """Kill a command everywhere, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--only", default="", help="regular expression of the operations to kill at")
    parser.add_argument("--whole", action="store_true", help="with Hydra's part, which takes longest")
    parser.add_argument("--list", action="store_true", help="the operations and nothing more")
    given = parser.parse_args()
    before, arguments = COMMANDS[given.command]
    make = whole_command if given.whole else command
    run, first = make(*arguments), make(*before) if before else None
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())  # no context, whose clean-up forks would do too
    try:
        make_pictures(folder / "pictures")
        preload([run] if first is None else [first, run], folder)
        announce_writers_in_c()
        count_queries()
        make_cheap()
        start = None
        if first:
            ended = in_fork(first, start := folder / "start")
            assert ended.status == 0, ended.output
            shutil.rmtree(start / "outputs/runs")
        if given.list:
            fresh(start, folder / "undisturbed")
            began = time.monotonic()
            ended = in_fork(run, folder / "undisturbed")
            print(*map(str, ended.operations), ended.output, time.monotonic() - began, sep="\n")
            return
        report = kill_everywhere(
            run, start, folder, only=lambda operation, _: bool(re.search(given.only, str(operation))),
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    print(json.dumps(asdict(report), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
