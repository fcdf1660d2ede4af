"""Runs within this process."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir

from secmi_exp.store import Store
from tests.support.commands import CONF, SMOKE


def run_here(output: Path, *overrides: str, base: Sequence[str] = SMOKE) -> Path:
    """The same run within this process, without Hydra's logging; much quicker to start."""
    from secmi_exp.pipeline import run

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"paths.output={output}", "logger=none", *base, *overrides])
    folder = output / "runs" / str(time.monotonic_ns())
    folder.mkdir(parents=True)
    run(config, folder)
    return folder


@contextmanager
def one_run(root: Path) -> Iterator[Store]:
    """The store of a run that tells its queries when it ends well, as writing its results does."""
    store = Store(root)
    try:
        yield store
        store.forget_queries()
    finally:
        for tally in store._tallies.values():
            tally.close()  # as the end of the process does
