"""Which processes carry out a job: those that torchrun or SLURM has started, or those that rank 0 starts by itself.

Light, since the command asks before anything is composed; the processes themselves are in `rank_group`.
"""

import atexit
import os
from collections.abc import Mapping
from typing import Any

from secmi_exp.deferred import Deferred
from secmi_exp.engine.rank_info import RankInfo
from secmi_exp.engine.slurm import address_of_first_node, tasks_of_step
from secmi_exp.errors import UserError

RankGroup = Deferred("secmi_exp.engine.rank_group:RankGroup")
serve_rank_0 = Deferred("secmi_exp.engine.rank_group:serve_rank_0")

FIRST_PORT, PORTS, STEPS_APART = 15000, 10000, 997
"""Ports for SLURM's jobs: each job's steps take them in turn, by their numbers."""


_group: Any = None
"""The `RankGroup` of this process's jobs, once there is one."""


def launched_rank(environment: Mapping[str, str] = os.environ) -> RankInfo | None:
    """Read which rank torchrun or srun has made of this process.

    Returns:
        None where it was started on its own, be it within an allocation.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        rank, world_size, local_rank, node, port = (
            int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "MASTER_PORT")
        )
        info = RankInfo(rank, world_size, local_rank, node, environment["MASTER_ADDR"], port)
    elif (world_size := tasks_of_step(environment)) > 1:
        rank, local_rank, node, job, step = (
            int(environment[f"SLURM_{name}"]) for name in ("PROCID", "LOCALID", "NODEID", "JOB_ID", "STEP_ID")
        )
        port = FIRST_PORT + (job + STEPS_APART * step) % PORTS
        info = RankInfo(rank, world_size, local_rank, node, address_of_first_node(environment), port)
    else:
        return None
    return info if info.world_size > 1 else None


def runs_the_job() -> bool:
    """Whether this process is rank 0, which carries out the run itself; waits for no other process."""
    info = launched_rank()
    return info is None or info.rank == 0


def join_launched_ranks() -> bool:
    """Where torchrun or SLURM has started this process, meet the others; any but rank 0 then serves it to the end.

    Returns:
        Whether this process is rank 0.
    """
    global _group
    info = launched_rank()
    if info and info.rank:
        serve_rank_0(info)
        return False
    if info and _group is None:
        _group = RankGroup(info, start=False)
    return True


def refuse_other_number(devices: int, nodes: int) -> None:
    """Refuse a job that asks for another number of processes than were started.

    Raises:
        UserError: naming both numbers.
    """
    launched = launched_rank()
    if launched and launched.world_size != devices * nodes:
        raise UserError(
            f"{launched.world_size} processes were started for trainer.devices={devices} on trainer.nodes={nodes}: "
            "their product must be the number of processes."
        )


def rank_group(devices: int, nodes: int) -> Any:
    """Return the `RankGroup` of this process's jobs; it is started for the first stage and kept for later ones.

    Raises:
        UserError: where torchrun or SLURM has started another number of processes, or is needed and hasn't.
    """
    global _group
    launched = launched_rank()
    if launched is None and nodes > 1:
        raise UserError(
            f"trainer.nodes={nodes} needs a process for each device on all machines, which torchrun or SLURM must "
            "start: see the README, or set trainer.nodes=1."
        )
    refuse_other_number(devices, nodes)
    if _group and not launched and _group.info.world_size != devices:
        _group.close()
    if _group is None or _group.closed:
        _group = RankGroup(launched or RankInfo(world_size=devices), start=launched is None)
    return _group


@atexit.register
def end_rank_group(*, failed: bool = False) -> None:
    """End the other ranks of this process's jobs.

    Args:
        failed: whether the run has failed, so that they may be in the midst of a stage or gone.
    """
    if _group:
        _group.close(failed=failed)
