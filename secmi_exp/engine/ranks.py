"""The processes that carry out a job's stages together: one a device.

Rank 0 is the run itself: it alone reads the configuration, asks the store, and writes results. The other ranks know
neither the command line nor Hydra: they wait for a stage, a function with its arguments, carry it out together with
rank 0, and wait for the next. So a job on several devices, in a sweep too, ends in one directory with one result.

On one machine rank 0 starts the others; across machines torchrun or SLURM starts all of them.
"""

import atexit
import gc
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from secmi_exp.engine.rank_failures import (
    Failure,
    introduce,
    read_introduction,
    reason,
    report_failure,
    reported_failure,
)
from secmi_exp.engine.sigterm import Terminated
from secmi_exp.engine.slurm import address_of_first_node, tasks_of_step
from secmi_exp.errors import UserError, first_line

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a rank waits for the next stage, which may have to wait for another run's training."""

ARRIVAL = timedelta(minutes=10)
"""How long ranks wait for each other to come."""

UNTOLD_S = 10.0
"""After how long they say for whom they wait."""

FIRST_PORT, PORTS, STEPS_APART = 15000, 10000, 997
"""What SLURM's jobs and their steps share, each one port by its numbers."""

GRACE_S = 5.0
"""How long rank 0 may take to fail by itself once another rank has ended."""

WATCH_S = 0.05
"""Between looks at the other ranks."""


@dataclass(frozen=True)
class Place:
    """Which of the job's processes this is."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: int = 0
    address: str = "127.0.0.1"
    """Where rank 0 listens."""
    port: int = 0


ALONE = Place()

_current = ALONE


def current() -> Place:
    """The place of this process in the stage that it is carrying out; `ALONE` outside of stages on several devices."""
    return _current


@contextmanager
def _taking(place: Place, local_world_size: int) -> Iterator[None]:
    """Take a place for the time of a stage, and this process's share of the processors."""
    import torch

    global _current
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // local_world_size))
    _current = place
    try:
        yield
    finally:
        _current = ALONE
        torch.set_num_threads(threads)


def agreed(value: T) -> T:
    """What rank 0 has, on every rank."""
    if _current.world_size == 1:
        return value
    import torch.distributed

    shared = [value]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def total(value: int) -> int:
    """The sum over all ranks, on every rank."""
    if _current.world_size == 1:
        return value
    import torch
    import torch.distributed

    tensor = torch.tensor(value)
    torch.distributed.all_reduce(tensor)
    return int(tensor)


def wait_for_all() -> None:
    """Return once every rank has come to this call."""
    total(0)


def launched_from_outside(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that torchrun or srun gave this process; None where it was started on its own, in an allocation too."""
    if "TORCHELASTIC_RUN_ID" in environment:
        rank, world_size, local_rank, node, port = (
            int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "MASTER_PORT")
        )
        place = Place(rank, world_size, local_rank, node, environment["MASTER_ADDR"], port)
    elif (world_size := tasks_of_step(environment)) > 1:
        rank, local_rank, node, job, step = (
            int(environment[f"SLURM_{name}"]) for name in ("PROCID", "LOCALID", "NODEID", "JOB_ID", "STEP_ID")
        )
        port = FIRST_PORT + (job + STEPS_APART * step) % PORTS
        place = Place(rank, world_size, local_rank, node, address_of_first_node(environment), port)
    else:
        return None
    return place if place.world_size > 1 else None


def _connect(place: Place) -> "TCPStore":
    """Meet the other ranks; returns where they have met."""
    import torch
    import torch.distributed

    store = _meet(place)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=PATIENCE,
    )
    return store


def _meet(place: Place) -> "TCPStore":
    """Wait until rank 0 and this rank have met, on rank 0 until all ranks have come.

    Raises:
        UserError: naming those that have not come in time.
    """
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    first = place.rank == 0
    awaited = set(range(1, place.world_size)) if first else {0}
    telling = threading.Timer(UNTOLD_S, _tell_waiting, (place, awaited))
    telling.daemon = True
    telling.start()
    try:
        store = TCPStore(place.address, place.port, place.world_size, first, timeout=ARRIVAL, wait_for_workers=False)
        if not first:
            introduce(store, place.rank)
        deadline = time.monotonic() + ARRIVAL.total_seconds()
        while awaited and time.monotonic() < deadline:
            time.sleep(0.02)
            awaited -= {rank for rank in awaited if store.check([f"rank {rank}"])}
        if first and not awaited:
            store.set("rank 0", "has met all others")
    except DistError as error:
        raise UserError(
            f"{_waiting(place, awaited)} in vain ({first_line(error)}): start all ranks at once."
        ) from error
    finally:
        telling.cancel()
    if awaited:
        raise UserError(f"{_waiting(place, awaited)} in vain for {_arrival()}: start all ranks at once.")
    return store


def _tell_waiting(place: Place, awaited: set[int]) -> None:
    log.warning("%s, up to %s.", _waiting(place, awaited), _arrival())


def _waiting(place: Place, awaited: set[int]) -> str:
    """Such as "Rank 0 of 4 waits for rank 1, 2, 3 at 127.0.0.1:15000"."""
    who = "rank " + ", ".join(map(str, sorted(awaited)[:8])) + (" …" if len(awaited) > 8 else "")
    return f"Rank {place.rank} of {place.world_size} waits for {who} at {place.address}:{place.port}"


def _arrival() -> str:
    return f"{ARRIVAL.total_seconds() / 60:g} minutes"


@dataclass(frozen=True)
class Stage:
    """Work for all ranks."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    local_world_size: int


def _hand_out(stage: Stage | None = None) -> Stage | None:
    """From rank 0 to all the others; None: there is nothing more to do."""
    import torch.distributed

    shared = [stage]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def serve(place: Place) -> None:
    """Carry out what rank 0 hands out, until it has nothing more.

    What rank 0 can tell in a sentence ends this process without a word of its own.
    """
    import torch.distributed

    store = _connect(place)
    try:
        while stage := _hand_out():
            with _taking(place, stage.local_world_size):
                stage.function(*stage.arguments, logger=None)
    except Exception as error:
        failure = Failure.of(error)
        report_failure(store, place.rank, failure)
        if failure.told_by_rank_0:
            end(1)
        raise
    torch.distributed.destroy_process_group()


class Team:
    """All ranks of this process's jobs, seen from rank 0.

    Args:
        place: of this process; the port may be 0 where ranks are started.
        start: whether to start the other ranks, all on this machine.
    """

    def __init__(self, place: Place, *, start: bool):
        self.place = replace(place, port=_free_port()) if start else place
        self.children = {rank: self._start(rank) for rank in range(1, place.world_size)} if start else {}
        self.closed = False
        self.stage: str | None = None
        """Under way."""
        self.loss: UserError | None = None
        """What to say of a rank that has ended in it."""
        self.store = _connect(self.place)
        come = [read_introduction(self.store, rank) for rank in range(1, place.world_size)]
        self.members = [replace(member, child=self.children.get(member.rank)) for member in come]
        threading.Thread(target=self._watch, daemon=True).start()

    def everywhere(self, function: Callable[..., T], *arguments: Any, devices: int, logger: Any) -> T:
        """Call the function on all ranks at once, so many on each machine, and return what it gave on rank 0.

        Raises:
            UserError: naming a rank that was killed, and what another rank's mistake was.
        """
        finished = False
        self.stage = function.__name__
        try:
            _hand_out(Stage(function, arguments, devices))
            with _taking(self.place, devices):
                result = function(*arguments, logger=logger)
            finished = True
            return result
        except UserError:
            raise
        except Terminated as terminated:
            if self.loss:  # which is why the launcher ends this rank too
                raise self.loss from terminated
            raise
        except Exception as error:
            if found := reason(self.store, self.members, self.stage, error):
                raise found from error
            raise
        finally:
            self.stage = None
            if not finished:
                self.close(failed=True)

    def close(self, *, failed: bool = False) -> None:
        """Send the other ranks home."""
        import torch.distributed

        if self.closed:
            return
        self.closed = True
        if not failed:
            try:
                _hand_out(None)
            except RuntimeError:  # one has gone, whom nobody needs any more
                failed = True
        for child in self.children.values():
            if failed:
                child.kill()
            child.wait()
        torch.distributed.destroy_process_group()
        gc.collect()  # whatever of Lightning's still holds the group holds threads, which must end before the process

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        place = Place(rank, self.place.world_size, rank, 0, self.place.address, self.place.port)
        return subprocess.Popen(
            [sys.executable, "-c", "from secmi_exp.engine.ranks import main; main()", json.dumps(asdict(place))],
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
                self.loss = UserError(failure.said) if failure else ended[0].killed(stage)
                threading.Event().wait(GRACE_S)
                if not self.closed and self.stage == stage:
                    sys.stderr.write(f"secmi_exp: {self.loss}\n")
                    for child in self.children.values():
                        child.kill()
                    end(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_team: Team | None = None


def is_first() -> bool:
    """Whether this is the process that the run itself happens in; waits for nobody."""
    place = launched_from_outside()
    return place is None or place.rank == 0


def join() -> bool:
    """Where torchrun or SLURM has started this process, meet the others; and unless it is rank 0, serve it to the end.

    Returns:
        Whether this is the process that the run itself happens in.
    """
    global _team
    place = launched_from_outside()
    if place and place.rank:
        serve(place)
        return False
    if place and _team is None:
        _team = Team(place, start=False)
    return True


def refuse_other_number(devices: int, nodes: int) -> None:
    """Refuse a job that asks for another number of processes than were started.

    Raises:
        UserError: naming both numbers.
    """
    given = launched_from_outside()
    if given and given.world_size != devices * nodes:
        raise UserError(
            f"{given.world_size} processes were started for trainer.devices={devices} on trainer.nodes={nodes}: "
            "their product must be the number of processes."
        )


def team(devices: int, nodes: int) -> Team:
    """The ranks of this process's jobs, started when the first stage needs them and kept for later ones.

    Raises:
        UserError: where torchrun or SLURM has started another number of processes, or is needed and hasn't.
    """
    global _team
    given = launched_from_outside()
    if given is None and nodes > 1:
        raise UserError(
            f"trainer.nodes={nodes} needs a process for each device on all machines, which torchrun or SLURM must "
            "start: see the README, or set trainer.nodes=1."
        )
    refuse_other_number(devices, nodes)
    if _team and not given and _team.place.world_size != devices:
        _team.close()
    if _team is None or _team.closed:
        _team = Team(given or Place(world_size=devices), start=given is None)
    return _team


@atexit.register
def dismiss(*, failed: bool = False) -> None:
    """Let the other ranks of this process's jobs go; those of a run that has failed may have gone, or be at work."""
    if _team:
        _team.close(failed=failed)


def end(status: int) -> NoReturn:
    """End a rank other than the first, which has nothing to clean up but libraries' threads, that may abort it."""
    sys.stderr.flush()
    os._exit(status)


def _end_with_rank_0() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> None:
    """A rank that rank 0 has started."""
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="rank %(process)d: %(message)s")
    try:
        serve(Place(**json.loads(sys.argv[1])))
    except UserError:
        end(1)  # rank 0 tells it
    except KeyboardInterrupt:
        end(130)
    end(0)
