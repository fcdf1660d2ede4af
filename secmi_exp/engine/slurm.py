"""What SLURM's environment variables say of this process: whether srun has started it as a task of several.

An allocation's own variables, such as SLURM_NTASKS and SLURM_JOB_NAME, are in the environment of every process inside
it: of a batch script, of the shell that ``salloc`` or ``srun --pty bash`` opens, and of what is started there by hand.
Only what the step says of itself tells such a process from a task that srun has started to be one of the ranks.

Source: srun(1), "OUTPUT ENVIRONMENT VARIABLES"; ``slurm.h`` for the numbers of SLURM's own steps.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

OWN_STEPS = 0xFFFFFFF0
"""Smallest number of SLURM's own steps: a batch script, the shell of ``salloc``, a session by ssh."""


def tasks_of_step(environment: Mapping[str, str]) -> int:
    """How many tasks srun has started, this process being one of them; 1 where it isn't the task of a step."""
    step = environment.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= OWN_STEPS or _is_below_a_shell(environment):
        return 1
    return int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS") or 1)


def _is_below_a_shell(environment: Mapping[str, str]) -> bool:
    """Whether this process was started by hand, in a shell that ``srun --pty`` has started.

    The variable alone doesn't say so: a step that is started in such a shell inherits it.
    """
    task = environment.get("SLURM_TASK_PID", "")
    return "SLURM_PTY_PORT" in environment and task != str(os.getpid()) and _may_have_a_terminal(task)


def _may_have_a_terminal(pid: str) -> bool:
    """Whether a process of this machine has a controlling terminal; True where that can't be known."""
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return True
    return fields[4] != "0"  # tty_nr, see proc(5)


def address_of_first_node(environment: Mapping[str, str]) -> str:
    """Return the first host of the step, which may have fewer than its allocation: where its rank 0 is.

    >>> address_of_first_node({"SLURM_STEP_NODELIST": "gpu[07-09,12],login1"})
    'gpu07'
    """
    nodes = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_NODELIST"]
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).partition(",")[0]
