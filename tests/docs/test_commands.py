"""Every command that the documentation shows can be given: its settings exist, and so do its targets and options."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from secmi_exp.configuration.arguments import checked_arguments
from secmi_exp.configuration.command_errors import PLUGINS
from secmi_exp.configuration.components import component
from secmi_exp.configuration.search import prefer_own_sweeper
from tests.support.commands import CONF, REPOSITORY
from tests.support.documented_commands import HELP, PAGES, commands

GROUPS = ("dataset", "split", "canaries", "defense", "target", "trainer", "logger", "attack", "quality")
SHOWN = sorted({tuple(command) for page in [*PAGES, HELP] for command in commands(page)})
RUNS = [command[3:] for command in SHOWN if command[:3] == ("python", "-m", "secmi_exp")]
RUNS += [command[command.index("secmi_exp") + 1 :] for command in SHOWN if command[0] == "torchrun"]
MODULES = [command for command in SHOWN if command[:2] == ("python", "-m") and command[2] != "secmi_exp"]


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of the first job."""
    first = [
        f"{each.get_key_element()}={next(each.sweep_string_iterator())}"
        if each.is_sweep_override() and not each.is_interval_sweep()
        else str(each.input_line)
        for each in OverridesParser.create().parse_overrides(list(overrides))
        if not each.is_interval_sweep()
    ]
    return compose("config", first, return_hydra_config=True)


@pytest.fixture(scope="module", autouse=True)
def hydra() -> Iterator[None]:
    """Started once for all commands."""
    prefer_own_sweeper()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@cache
def refuse_mistakes(group: str, settings: str) -> None:
    """Instantiate a group from YAML; the same settings once."""
    component(OmegaConf.create({group: OmegaConf.create(settings)}), group)


def composed_run(arguments: Sequence[str]) -> DictConfig | None:
    """What a command composes; None for help."""
    given = get_args_parser().parse_args(checked_arguments(arguments, CONF))
    return None if given.help or given.hydra_help or given.config_dir else composed(given.overrides)


@pytest.mark.parametrize("arguments", RUNS, ids=lambda arguments: " ".join(arguments) or "none")
def test_a_run_that_is_shown_has_settings_that_exist(arguments: tuple[str, ...]) -> None:
    composed_run(arguments)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUNS, ids=lambda arguments: " ".join(arguments) or "none")
def test_a_run_that_is_shown_has_values_that_are_accepted(arguments: tuple[str, ...]) -> None:
    config = composed_run(arguments)
    if config is None:
        return
    params = config.hydra.sweeper.get("params") or {}
    if params:
        composed(
            [*get_args_parser().parse_args(arguments).overrides, *(f"{key}={each}" for key, each in params.items())]
        )
    for group in GROUPS:
        if config.get(group):
            refuse_mistakes(group, OmegaConf.to_yaml(config[group], resolve=True))


def test_what_does_not_exist_would_be_found() -> None:
    for wrong in (["+attack=stat", "attack.tsec=5"], ["-m", "+attack=stat", "seed=0,1", "dataset=imagenet"]):
        with pytest.raises(Exception, match=r"tsec|imagenet"):
            composed_run(wrong)


@pytest.mark.parametrize("command", MODULES, ids=" ".join)
def test_a_module_that_is_shown_has_the_options(command: tuple[str, ...]) -> None:
    spec = importlib.util.find_spec(command[2])
    assert spec
    folders = spec.submodule_search_locations
    file = Path(folders[0]) / "__main__.py" if folders else Path(str(spec.origin))
    source = file.read_text(encoding="utf-8")
    for argument in command[3:]:
        if re.match(r"--?[a-z]", argument):
            assert f'"{argument}"' in source


def test_targets_of_make_and_extras_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {word for command in SHOWN if command[0] == "make" for word in command[1:] if "=" not in word}
    assert shown <= targets
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for command in SHOWN:
        if command[0] == "pip":
            assert not any(word.startswith("secmi-exp") for word in command)  # which isn't on PyPI yet
            for extra in re.findall(r"\.\[(.+)\]", " ".join(command)):
                assert extra in project["optional-dependencies"]


def test_packages_that_messages_name_are_those_of_the_extras() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = {each.partition(">")[0] for extra in ("launchers", "search") for each in extras[extra]}
    assert {package for packages in PLUGINS.values() for package in packages.split()} == listed


def test_the_pages_show_commands_of_every_kind() -> None:
    assert len(RUNS) > 50
    assert len(MODULES) > 8
    assert ("make", "quickstart") in SHOWN
