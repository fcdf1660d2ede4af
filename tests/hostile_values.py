"""Hostile values for every key of the configuration, and what becomes of a run up to its first stage.

`python -m tests.hostile_values [COUNT [SEED]]` tries so many of them, or all, and prints what was accepted.
"""

import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from secmi_exp.configuration.arguments import checked_arguments
from secmi_exp.configuration.command_errors import explain, refuse_merged_choices, refuse_unread_keys
from secmi_exp.configuration.preparation import prepare
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.testing import compose_config
from tests.support.commands import CONF, SMOKE

PATIENCE_S = 60
"""Processor time that a single case may take."""

COMPOSITIONS = {
    "nn": ["+attack=nn", *SMOKE],
    "cdi": ["+attack=cdi", *SMOKE],
    "logan": ["+attack=tvd", *SMOKE],
    "monte_carlo": ["+attack=monte_carlo_set", *SMOKE],
    "latent": ["attack=pia", "experiment=latent_digits", "trainer=cpu"],
    "quality": ["quality=measured", "logger=wandb", "logger.mode=disabled", *SMOKE],
    "dp_sgd": ["+attack=gsa", "defense=dp_sgd", *SMOKE],
    "cutout": ["+attack=pfami", "defense=cutout", *SMOKE],
    "randaugment": ["+attack=quantile", "defense=randaugment", *SMOKE],
    "l2": ["+attack=blind", "defense=l2", "logger=csv", *SMOKE],
    "folder": [
        "+attack=distance", "dataset=image_folder", "dataset.path=.", "target=ddpm_small", "split=indices",
        "split.path=x.npz", *SMOKE, "split.members=null", "split.holdouts=null",
    ],
}  # fmt: skip
"""Name → command line of a run that is in order."""

VALUES = [
    "null", "true", "false", "nan", "inf", "-inf", "-1", "0", "0.5", "1e308", "-1e-308", "2**64", str(2**64),
    str(-2**64), "100000", "10000000000000000000000000", "''", "' '", "nope", "'${'", "${x}", "'\\${'", "[]", "{}",
    "[[]]", "[null]", "[1,2]", "[nan]", "{a:1}", "{1:2}", "{_target_:os.getcwd}", "'[/b]$x$'", "'a\\nb'", "🦊",
    "../../x", "x" * 20000, "[" * 40 + "]" * 40, "{a:" * 40 + "1" + "}" * 40,
]  # fmt: skip
"""As a command line has them."""


@dataclass(frozen=True)
class Case:
    """One setting of one run."""

    composition: str
    key: str
    value: str

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        return [*COMPOSITIONS[self.composition], f"++{self.key}={self.value}"]

    def __str__(self) -> str:
        return f"{self.composition}: {self.key}={self.value[:40]}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    kind: str
    """refused, accepted, traceback, or hang."""
    told: str = ""


@cache
def keys(composition: str) -> list[str]:
    """All keys of its configuration, those of groups and lists too."""
    config = compose_config(*untracked(COMPOSITIONS[composition]))
    return list(_keys(OmegaConf.to_container(config, resolve=False)))


def _keys(node: object, place: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            key = f"{place}.{name}" if place else str(name)
            if "." in key or not isinstance(value, dict):  # groups as a whole are tests/test_arguments.py's
                yield key
            yield from _keys(value, key)


@cache
def cases() -> list[Case]:
    """Every value for every key, each key once, in the first composition that has it with the same component."""
    seen: set[tuple[str, str]] = set()
    found = []
    for composition in COMPOSITIONS:
        chosen = {argument.lstrip("+").partition("=")[0]: argument for argument in COMPOSITIONS[composition]}
        for key in keys(composition):
            component = chosen.get(key.partition(".")[0], "")
            if (component, key) not in seen:
                seen.add((component, key))
                found += [Case(composition, key, value) for value in VALUES]
    return found


def sample(count: int, seed: int = 0) -> list[Case]:
    """So many of them."""
    return random.Random(seed).sample(cases(), count)


class Hangs(BaseException):
    """A case has used up its time."""


@contextmanager
def time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def untracked(arguments: Sequence[str]) -> list[str]:
    """The command line, without W&B unless it says otherwise."""
    return [*([] if any("logger=" in each for each in arguments) else ["logger=none"]), *arguments]


def attempted(arguments: Sequence[str], output: Path) -> Outcome:
    """Go as far as the command does before its first stage."""
    given = [f"paths.output={output}", *untracked(arguments)]
    try:
        with time_limit():
            prepare(composed(given))
    except Hangs:
        return Outcome("hang")
    except Exception as error:
        sentence = explain(error, given, CONF)
        return (
            Outcome("refused", sentence)
            if sentence
            else Outcome("traceback", "".join(traceback.format_exception(error)))
        )
    finally:
        HydraConfig.instance().cfg = None
        GlobalHydra.instance().clear()
    return Outcome("accepted")


def composed(arguments: Sequence[str]) -> DictConfig:
    """The configuration as Hydra hands it to a job, and checked as the command does."""
    *rest, last = checked_arguments(arguments, CONF)
    config = deepcopy(whole(tuple(rest)))
    ConfigLoaderImpl._apply_overrides_to_config([OverridesParser.create().parse_override(last)], config)
    config.hydra.overrides.task.append(last)
    HydraConfig.instance().set_config(config)
    assert config.hydra.run.dir
    task = deepcopy(config)
    with open_dict(task):
        del task["hydra"]
    with naming(""), initialize_config_dir(str(CONF), version_base="1.3"):
        refuse_unread_keys(task, CONF)
        refuse_merged_choices(task, CONF)
    return task


@cache
def whole(arguments: tuple[str, ...]) -> DictConfig:
    """What Hydra composes, before the last argument is applied to it as Hydra would: much quicker for many of those."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(arguments), return_hydra_config=True)


def tells(sentence: str, case: Case) -> bool:
    """Whether a sentence says which setting is meant, by its key, a part of it, or its value."""
    names = case.key.split(".")
    parts = [".".join(names[first:]) for first in range(len(names))] + [".".join(names[:last]) for last in (1, 2)]
    value = case.value[:20]
    return any(part in sentence for part in [*parts, value, value.replace("null", "None")])


def main() -> None:
    """Try them, and print what was accepted, and what went wrong."""
    count, seed = [*map(int, sys.argv[1:]), 0, 0][:2]
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(sample(count, seed) if count else cases()):
            started = time.monotonic()
            outcome = attempted(case.arguments, Path(folder) / "out")
            seconds = time.monotonic() - started
            counts[outcome.kind] += 1
            silent = outcome.kind == "refused" and not tells(outcome.told, case)
            mark = f"{outcome.kind}{' WITHOUT KEY' if silent else ''}{f' SLOW {seconds:.0f}s' if seconds > 5 else ''}"
            print(f"{mark}\t{case}\t{outcome.told}", flush=True)
            if number % 200 == 199:
                print(dict(counts), file=sys.stderr, flush=True)
    print(dict(counts), file=sys.stderr)


if __name__ == "__main__":
    main()
