"""The command: Hydra composes the configuration, the pipeline runs it. Imports nothing heavy before that."""

import gc
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from secmi_exp.configuration.arguments import checked_arguments
from secmi_exp.configuration.command_errors import explain, refuse_merged_choices, refuse_unread_keys
from secmi_exp.configuration.flags import read_flags
from secmi_exp.configuration.folders import CONF
from secmi_exp.configuration.search import (
    end_without_attack,
    end_without_objective,
    prefer_own_sweeper,
    share_config_store,
)
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.deferred import Deferred
from secmi_exp.engine.launch import end_rank_group, join_launched_ranks, runs_the_job
from secmi_exp.engine.rank_info import end_process
from secmi_exp.engine.sigterm import Terminated, raise_on_sigterm, stop_raising
from secmi_exp.engine.worker_processes import end_with_parent
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.log_files import keep_log_files_from_failing
from secmi_exp.reporting.sweep_callback import close_open_sweep, note_run, written_folder

refuse_wrong_types = Deferred("secmi_exp.configuration.source_types:refuse_wrong_types")
run = Deferred("secmi_exp.pipeline:run")
gate_end = Deferred("secmi_exp.reporting.gate_report:gate_end")


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def task(config: DictConfig) -> float | None:
    """Run one job; returns the AUC that a search optimizes."""
    end_with_parent()  # where Hydra's launcher has handed it to a worker of joblib's
    if not join_launched_ranks():  # a task of SLURM's that Hydra's launcher has started
        return None
    with naming(""):
        refuse_unread_keys(config, CONF)
        refuse_merged_choices(config, CONF)
        end_without_attack(config, HydraConfig.get())
    refuse_wrong_types(config)
    keep_log_files_from_failing()
    folder = Path(HydraConfig.get().runtime.output_dir)
    note_run(folder)
    carry_out = run.imported
    collect_garbage_from_now_on()
    objective: float | None = carry_out(config, folder)
    end_without_objective(objective, HydraConfig.get())
    return objective


def collect_garbage_from_now_on() -> None:
    """Leave out of all collections what was imported, which is no garbage: they would go through it again and again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def only_shows(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for help or the configuration, so that no rank has anything to wait for.

    So does one that can't be read: its mistake is explained.
    """
    try:
        given = read_flags(arguments)
    except UserError:
        return True
    return bool(given.help or given.hydra_help or given.cfg or given.info or given.shell_completion)


def end_by_gate(folder: Path | None) -> None:
    """End with a sentence and a status of its own where a limit of the gate is exceeded, or the sample can't decide.

    Args:
        folder: of the run, or of the sweep; None where nothing was run.

    Raises:
        SystemExit: with status 3 or 4; see `gate_report`.
    """
    ended = gate_end(folder) if folder else None
    if ended and ended.status:
        sys.stderr.write(f"secmi_exp: {ended.sentence}\n")
        sys.exit(ended.status)


def close_failed_sweep() -> None:
    """Close a sweep that a job's failure has ended; an error in closing it is only logged."""
    try:
        close_open_sweep()
    except Exception as error:
        logging.getLogger("secmi_exp").warning("The sweep's tables are not written: %s.", first_line(error))


def mistake_before(terminated: Terminated) -> str | None:
    """The user's mistake that was being reported when SIGTERM came: torchrun sends it once another rank has ended."""
    error = terminated.__context__
    while error and not isinstance(error, UserError):
        error = error.__context__
    return str(error) if error else None


def main() -> None:
    """Run, and end a user's mistake with one sentence and exit status 1."""
    gc.disable()  # see `collect_garbage_from_now_on`
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra hand exceptions on instead of printing them
    try:
        if not (runs_the_job() if only_shows(sys.argv[1:]) else join_launched_ranks()):
            end_process(0)
        raise_on_sigterm()  # not in other ranks: those wait where no handler is called
        sys.argv[1:] = checked_arguments(sys.argv[1:], CONF)
        prefer_own_sweeper()
        share_config_store()
        task()
        close_open_sweep()
        end_by_gate(written_folder())
    except BrokenPipeError:  # whoever reads the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Terminated as terminated:
        end_rank_group(failed=True)
        message = mistake_before(terminated) or "ended by SIGTERM; the same command continues where it was."
        sys.stderr.write(f"secmi_exp: {message}\n")
        sys.exit(terminated.code)
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, KeyboardInterrupt):
            raise
        sys.stderr.write("secmi_exp: stopped; the same command continues where it was.\n")  # Lightning exits with 1
        sys.exit(130)
    except Exception as error:
        close_failed_sweep()
        sentence = explain(error, sys.argv[1:], CONF)
        if sentence is None:
            raise
        if full:
            traceback.print_exception(error)
        sys.stderr.write(f"secmi_exp: {sentence}\n")
        sys.exit(1)
    finally:
        gc.enable()
        stop_raising()
        end_rank_group()


if __name__ == "__main__":
    main()
