"""One job in this process, as `python -m secmi_exp` carries it out: the same configuration, checks and pipeline."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from secmi_exp.configuration.arguments import checked_arguments
from secmi_exp.configuration.command_errors import explain, refuse_merged_choices, refuse_unread_keys
from secmi_exp.configuration.folders import CONF
from secmi_exp.configuration.search import prefer_own_sweeper
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.configuration.source_types import refuse_wrong_types
from secmi_exp.engine.launch import end_rank_group
from secmi_exp.errors import UserError
from secmi_exp.files.log_files import LogFile
from secmi_exp.pipeline import run
from secmi_exp.reporting.failure_file import write_failure

LOG = "secmi_exp.log"
"""Name of the log file, the same as the command's."""


@contextmanager
def explained(overrides: Sequence[str], *, started: bool = False) -> Iterator[None]:
    """Turn a user's mistake into the sentence that the command ends with.

    Args:
        overrides: of the job.
        started: whether the job's stages have begun.

    Raises:
        UserError: with that sentence. Faults of the program are raised as they are.
    """
    hydra = GlobalHydra.instance().hydra
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = explain(error, list(overrides), CONF, started=started)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    finally:
        GlobalHydra.instance().hydra = hydra  # which an explanation may have replaced


@contextmanager
def hydra_started() -> Iterator[None]:
    """Initialize Hydra with the configuration's folder, and restore the process's own state of Hydra afterwards."""
    prefer_own_sweeper()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def compose_job(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of a job, without carrying it out.

    Raises:
        UserError: where it can't be composed.
    """
    with explained(overrides):
        arguments = checked_arguments(overrides, CONF)
        with hydra_started():
            config = compose("config", arguments)
        with naming(""):
            refuse_unread_keys(config, CONF)
        return config


def run_job(overrides: Sequence[str]) -> Path:
    """Carry out a job; nothing is printed apart from progress bars.

    Args:
        overrides: overrides in the command line's format.

    Returns:
        The run's directory, with all that the command leaves there.

    Raises:
        UserError: for whatever the user can mend.
        KeyboardInterrupt: where the user has stopped it; the same call continues where it was.
    """
    folders: list[Path] = []
    failures: list[Exception] = []

    def task(config: DictConfig) -> None:
        folders.append(Path(HydraConfig.get().runtime.output_dir))
        try:
            with naming(""):
                refuse_unread_keys(config, CONF)
                refuse_merged_choices(config, CONF)
            refuse_wrong_types(config)
            with logged(folders[0] / LOG):
                run(config, folders[0], shown=False)
        except Exception as error:  # Hydra would print it
            write_failure(folders[0], error)
            failures.append(error)

    try:
        with explained(overrides):
            arguments = checked_arguments(overrides, CONF)
            with hydra_started():
                hydra = GlobalHydra.instance().hydra
                assert hydra is not None
                hydra.run("config", task, arguments, with_log_configuration=False)
        if failures:
            with explained(overrides, started=True):
                raise failures[0]
    except SystemExit as error:  # as Lightning makes it of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        end_rank_group()
    return folders[0]


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """Write this package's log to a file, besides wherever the process has it."""
    log = logging.getLogger("secmi_exp")
    handler = LogFile(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()
