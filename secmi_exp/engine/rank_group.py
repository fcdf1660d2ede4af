"""The processes that carry out a job's stages together: one a device.

Rank 0 is the run itself: it alone reads the configuration, asks the store, and writes results. The other ranks know
neither the command line nor Hydra: they wait for a stage, a function with its arguments, carry it out together with
rank 0, and wait for the next. So a job on several devices, in a sweep too, ends in one directory with one result.

On one machine rank 0 starts the others; across machines torchrun or SLURM starts all of them.
"""

import gc
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from secmi_exp.engine.collectives import acting_as
from secmi_exp.engine.rank_failures import (
    Failure,
    find_reason,
    introduce,
    read_introduction,
    report_failure,
    reported_failure,
)
from secmi_exp.engine.rank_info import RankInfo, end_process
from secmi_exp.engine.sigterm import Terminated
from secmi_exp.errors import UserError, first_line

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a rank waits for the next stage, which may have to wait for another run's training."""

ARRIVAL = timedelta(minutes=10)
"""How long ranks wait for each other at the start."""

ANNOUNCE_AFTER_S = 10.0
"""Seconds of waiting after which a rank logs for which others it waits."""

GRACE_S = 5.0
"""How long rank 0 may take to fail by itself once another rank has ended."""

WATCH_S = 0.05
"""Seconds between checks that the other ranks still run."""


def _connect(info: RankInfo) -> TCPStore:
    """Join the process group; return the key-value store that its ranks share."""
    store = _meet(info)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=info.rank,
        world_size=info.world_size,
        timeout=PATIENCE,
    )
    return store


def _meet(info: RankInfo) -> TCPStore:
    """Wait until this rank has reached rank 0; on rank 0, until all ranks have.

    Raises:
        UserError: naming the ranks that are missing after `ARRIVAL`.
    """
    first = info.rank == 0
    awaited = set(range(1, info.world_size)) if first else {0}
    announcement = threading.Timer(ANNOUNCE_AFTER_S, _announce_waiting, (info, awaited))
    announcement.daemon = True
    announcement.start()
    try:
        store = TCPStore(info.address, info.port, info.world_size, first, timeout=ARRIVAL, wait_for_workers=False)
        if not first:
            introduce(store, info.rank)
        deadline = time.monotonic() + ARRIVAL.total_seconds()
        while awaited and time.monotonic() < deadline:
            time.sleep(0.02)
            awaited -= {rank for rank in awaited if store.check([f"rank {rank}"])}
        if first and not awaited:
            store.set("rank 0", "has met all others")
    except DistError as error:
        raise UserError(f"{_waiting(info, awaited)} in vain ({first_line(error)}): start all ranks at once.") from error
    finally:
        announcement.cancel()
    if awaited:
        raise UserError(f"{_waiting(info, awaited)} in vain for {_arrival()}: start all ranks at once.")
    return store


def _announce_waiting(info: RankInfo, awaited: set[int]) -> None:
    log.warning("%s, up to %s.", _waiting(info, awaited), _arrival())


def _waiting(info: RankInfo, awaited: set[int]) -> str:
    """Such as "Rank 0 of 4 waits for rank 1, 2, 3 at 127.0.0.1:15000"."""
    who = "rank " + ", ".join(map(str, sorted(awaited)[:8])) + (" …" if len(awaited) > 8 else "")
    return f"Rank {info.rank} of {info.world_size} waits for {who} at {info.address}:{info.port}"


def _arrival() -> str:
    return f"{ARRIVAL.total_seconds() / 60:g} minutes"


@dataclass(frozen=True)
class Stage:
    """Work for all ranks."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    rank_0_keywords: tuple[str, ...]
    """Names of keyword arguments that are None on the other ranks."""
    local_world_size: int


def _broadcast_stage(stage: Stage | None = None) -> Stage | None:
    """Send rank 0's next stage to all ranks; None ends them."""
    shared = [stage]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def serve_rank_0(info: RankInfo) -> None:
    """Carry out the stages that rank 0 sends, until it sends None.

    Where rank 0 will report an error in a sentence, this process ends in silence.
    """
    store = _connect(info)
    try:
        while stage := _broadcast_stage():
            with acting_as(info, stage.local_world_size):
                stage.function(*stage.arguments, **dict.fromkeys(stage.rank_0_keywords))
    except Exception as error:
        failure = Failure.from_exception(error)
        report_failure(store, info.rank, failure)
        if failure.reported_by_rank_0:
            end_process(1)
        raise
    torch.distributed.destroy_process_group()


class RankGroup:
    """The ranks of this process's jobs, seen from rank 0.

    Args:
        info: of this process; the port may be 0 where ranks are started.
        start: whether to start the other ranks, all on this machine.
    """

    def __init__(self, info: RankInfo, *, start: bool):
        self.info = replace(info, port=_free_port()) if start else info
        self.children = {rank: self._start(rank) for rank in range(1, info.world_size)} if start else {}
        self.closed = False
        self.stage: str | None = None
        """Name of the one that is being carried out."""
        self.lost: UserError | None = None
        """The error about a rank that has ended in it."""
        self.store = _connect(self.info)
        others = [read_introduction(self.store, rank) for rank in range(1, info.world_size)]
        self.members = [replace(member, child=self.children.get(member.rank)) for member in others]
        threading.Thread(target=self._watch, daemon=True).start()

    def run_on_all_ranks(
        self, function: Callable[..., T], *arguments: Any, devices: int, rank_0_keywords: Mapping[str, Any]
    ) -> T:
        """Call a function on all ranks at once and return rank 0's result.

        Args:
            function: of a module, with arguments that can be pickled.
            arguments: the same on every rank.
            devices: ranks on each machine.
            rank_0_keywords: keyword arguments that only rank 0 has; the other ranks get None for each.

        Raises:
            UserError: naming a rank that was killed, or as another rank has raised it.
        """
        finished = False
        self.stage = function.__name__
        try:
            _broadcast_stage(Stage(function, arguments, tuple(rank_0_keywords), devices))
            with acting_as(self.info, devices):
                result = function(*arguments, **rank_0_keywords)
            finished = True
            return result
        except UserError:
            raise
        except Terminated as terminated:
            if self.lost:  # which is why the launcher ends this rank too
                raise self.lost from terminated
            raise
        except Exception as error:
            if found := find_reason(self.store, self.members, self.stage, error):
                raise found from error
            raise
        finally:
            self.stage = None
            if not finished:
                self.close(failed=True)

    def close(self, *, failed: bool = False) -> None:
        """End the other ranks."""
        if self.closed:
            return
        self.closed = True
        if not failed:
            try:
                _broadcast_stage(None)
            except RuntimeError:  # one has ended already
                failed = True
        for child in self.children.values():
            if failed:
                child.kill()
            child.wait()
        torch.distributed.destroy_process_group()
        gc.collect()  # whatever of Lightning's still holds the group holds threads, which must end before the process

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        info = RankInfo(rank, self.info.world_size, rank, 0, self.info.address, self.info.port)
        return subprocess.Popen(
            [sys.executable, "-c", "from secmi_exp.engine.rank_group import main; main()", json.dumps(asdict(info))],
            stdin=subprocess.PIPE,  # which ends with this process, however that ends
            stdout=sys.stderr.fileno(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        )

    def _watch(self) -> None:
        """End the run where a rank has ended in a stage and rank 0 doesn't notice: it would wait for ever."""
        while not self.closed:
            time.sleep(WATCH_S)
            stage, ended = self.stage, [member for member in self.members if member.has_ended]
            if stage and ended:
                failure = reported_failure(self.store, ended[0])
                self.lost = UserError(failure.message) if failure else ended[0].killed(stage)
                threading.Event().wait(GRACE_S)
                if not self.closed and self.stage == stage:
                    sys.stderr.write(f"secmi_exp: {self.lost}\n")
                    for child in self.children.values():
                        child.kill()
                    end_process(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_rank_0() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> None:
    """Be a rank that rank 0 has started."""
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="rank %(process)d: %(message)s")
    try:
        serve_rank_0(RankInfo(**json.loads(sys.argv[1])))
    except UserError:
        end_process(1)  # which rank 0 reports
    except KeyboardInterrupt:
        end_process(130)
    end_process(0)
