"""Explanations of mistakes in a command line or configuration, each in one sentence that lists valid choices."""

import difflib
import re
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from secmi_exp.configuration.arguments import given_arguments, literal_dollars, quoted, refuse_several
from secmi_exp.configuration.flags import read_flags
from secmi_exp.configuration.folders import ConfigFolders
from secmi_exp.configuration.setting_errors import preset_that_sets, unforeseen
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.storage_errors import StorageLocation, output_place, storage_sentence
from secmi_exp.formatting import LONGEST_LINE, LONGEST_VALUE, one_sentence, shortened, shown

RESOLVING = "UserError raised while resolving interpolation: "
"""OmegaConf's prefix to the message of an exception from a resolver of ours."""

ELSEWHERE = ("--config-name", "--config-path", "-cn", "-cp")
"""Flags that replace the whole configuration."""

PLUGINS = {
    "hydra/launcher": "hydra-joblib-launcher hydra-submitit-launcher",
    "hydra/sweeper": "hydra-optuna-sweeper",
    "hydra/sweeper/sampler": "hydra-optuna-sweeper",
}
"""Groups whose choices come with packages of their own → these packages, as our extras list them."""


def explain(error: Exception, arguments: list[str], conf: Path, *, started: bool = False) -> str | None:
    """The sentence for a mistake of the user's, and for whatever is raised before a job begins; raises nothing.

    Args:
        error: the error that was raised.
        arguments: of the command line.
        conf: folder of the configuration.
        started: whether a job has raised it, where the error doesn't tell so itself.

    Returns:
        None for an exception of a job's own stages that is no `UserError`: a fault of the program.
    """
    sentence = None
    folders = ConfigFolders.from_arguments(arguments, conf)
    with suppress(Exception):  # whatever the same hostile text does to those who look at it
        sentence = _explained(error, arguments, folders)
    if sentence is None and not (started or raised_by_a_job(error)):
        reason = unforeseen(error)
        with suppress(Exception):
            reason = _unforeseen(error, arguments, folders)
        sentence = f"The run could not be started: {reason}."
    return sentence and one_sentence(sentence)


def raised_by_a_job(error: BaseException) -> bool:
    """Whether a job has raised an exception, in any process: Hydra raises it again from what the job returned."""
    places = [
        (frame.f_globals.get("__name__"), frame.f_code.co_name) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return (JobReturn.__module__, "return_value") in places


def _explained(error: Exception, arguments: list[str], folders: ConfigFolders) -> str | None:
    origin = error
    while not isinstance(origin, UserError) and isinstance(origin.__cause__, Exception):
        origin = origin.__cause__
    if isinstance(origin, UserError):  # which OmegaConf may have put an exception of its own around
        return str(origin)
    if sentence := storage_sentence(error, _output_place()):
        return sentence
    if isinstance(error, MissingConfigException):
        return _missing_choice(error, folders, arguments)
    if isinstance(error, OmegaConfBaseException) and str(error).startswith(RESOLVING):
        return f"{first_line(error).removeprefix(RESOLVING)}."
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = f" ({first_line(error.__cause__)})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return _bad_override(str(error), cause, arguments, folders)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):  # swept or a preset's
        return f"A group is set to what is no name of a choice ({first_line(error)})."
    if _of_search(error):
        return f"Optuna has ended the search: {first_line(error)}."
    return None


def _output_place() -> StorageLocation | None:
    """The directory of the run or the sweep, where Hydra has got as far as to name it."""
    if not HydraConfig.initialized() or OmegaConf.is_missing(HydraConfig.get().runtime, "output_dir"):
        return None
    return output_place(Path(HydraConfig.get().runtime.output_dir))


def _unforeseen(error: Exception, arguments: list[str], folders: ConfigFolders) -> str:
    """The message of an unexpected exception, and the argument or settings that it comes from."""
    frames = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    if "configure_log" in frames:
        cause = error.__cause__ or error
        return f"hydra.job_logging, hydra.hydra_logging or hydra.verbose can't be used ({first_line(cause)})"
    if isinstance(error, OSError) and error.filename and "load_configuration" not in frames:
        return (
            f"{shown(str(error.filename))} can't be made or written ({error.strerror}): check hydra.run.dir, "
            "hydra.sweep.dir and paths.output"
        )
    wrong = _at_fault(arguments, folders)
    return f"{shortened(wrong, LONGEST_VALUE)} can't be used ({unforeseen(error)})" if wrong else unforeseen(error)


def _at_fault(arguments: list[str], folders: ConfigFolders) -> str | None:
    """The argument without which the others can be composed."""
    settings: list[str] = read_flags(arguments).overrides
    if _compose(settings, folders) is not None:
        return None
    for argument in settings:
        if _compose([other for other in settings if other != argument], folders) is not None:
            return argument
    return None


def _of_search(error: Exception) -> bool:
    """Whether Optuna, or Hydra's plugin for it, has raised an exception, rather than a job of the search."""
    packages = [frame.f_globals["__name__"].partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "optuna" in packages or packages[-1:] == ["hydra_plugins"]


def _missing_choice(error: MissingConfigException, folders: ConfigFolders, arguments: list[str]) -> str:
    if elsewhere := [each for each in arguments if each.startswith(ELSEWHERE)]:
        return f"There is no configuration '{error.missing_cfg_file}' there: leave out {elsewhere[0]}."
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    if group in PLUGINS:
        others = f"choose one of {', '.join(error.options)}, or " if error.options else ""
        return f"There is no {group} '{choice}' here: {others}get Hydra's plugins by pip install {PLUGINS[group]}."
    if error.options:
        return f"There is no {group} '{choice}': choose one of {', '.join(error.options)}."
    return f"There is no config group '{group or choice}': choose one of {', '.join(folders.groups())}."


def _bad_override(message: str, cause: str, arguments: list[str], folders: ConfigFolders) -> str:
    first = shortened(message.splitlines()[0].rstrip("."), LONGEST_LINE)
    named = re.search(r"[Cc]ould not (?:override|append(?: to)?|delete) '([^']+)'", message)
    if chosen := re.search(r"Multiple values for (\S+)\. To override a value use 'override \S+: (\S+)'", first):
        return f"{chosen[1]} is chosen already, by default or by a preset: write {chosen[1]}={chosen[2]} without +."
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", first):
        return _several_values(several[1], folders)
    if named is None:
        return f"The command line can't be read: {first}{cause}{literal_dollars(arguments)}."
    key = named[1].split("@")[0].split("=")[0]
    if folders.has_group(key) and "Could not delete" in message:
        return f"No {named[1]} is chosen that could be left out."
    if folders.has_group(key) and "No match in the defaults list" in message:
        return f"{key} is added rather than overridden: write +{key}=…, with one of {', '.join(folders.choices(key))}."
    known = _composed(arguments, key, folders)
    if known is None:
        return f"{first}{cause}."
    node, path = known, key.split(".")
    for depth, name in enumerate(path):
        place = ".".join(path[:depth])
        if name not in node:
            preset = preset_that_sets(key, arguments)
            by = f" {preset} sets it: leave that out." if preset else ""
            keys = [str(each) for each in node if not str(each).startswith("_")]
            return _no_such_key(name, place, keys, [] if place else _groups_with(name, node)) + by
        child = OmegaConf.select(node, name)
        if not isinstance(child, DictConfig):
            return f"{place}.{name} holds a value, so {key} can't be set: set {place}.{name} itself."
        node = child
    return f"{first}{cause}."


def _several_values(argument: str, folders: ConfigFolders) -> str:
    sweep = f"{argument} is several values, which -m sweeps over"
    if folders.has_group(argument.lstrip("+").partition("=")[0]):
        return f"{sweep}: write `-m {argument}`."
    return f"{sweep}; if it is one, quote it: {quoted(argument)}."


def _no_such_key(name: str, place: str, keys: list[str], within: Sequence[str] = ()) -> str:
    """The sentence for a key that isn't there, with the one that was probably meant.

    Args:
        name: of the key.
        place: where it was looked for; empty at the top level.
        keys: those that are there.
        within: groups that have a setting of this name.
    """
    close = [f"{within[0]}.{name}"] if len(within) == 1 else difflib.get_close_matches(name, keys, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    where = f"in {place}" if place else "at the top level"
    return f"There is no key '{name}' {where}{hint}: choose one of {', '.join(sorted(keys))}."


def _groups_with(name: str, config: DictConfig) -> list[str]:
    """The groups of a configuration that have a setting of this name."""
    groups = ((str(key), node) for key, node in config.items_ex(resolve=False) if isinstance(node, DictConfig))
    return [group for group, node in groups if group != name and name in node]


def refuse_unread_keys(config: DictConfig, conf: Path) -> None:
    """Refuse what `+KEY=…` has put at the top level and nothing reads.

    Raises:
        UserError: naming the key and those that exist.
    """
    read = {str(key) for key in OmegaConf.load(conf / "config.yaml")} - {"defaults", "hydra"}
    read |= set(ConfigFolders.from_job(conf).groups())
    for key in config:
        if key not in read:
            raise UserError(_no_such_key(str(key), "", sorted(read), _groups_with(str(key), config)))


def refuse_merged_choices(config: DictConfig, conf: Path) -> None:
    """Refuse several choices of one group, wherever they come from: a preset's list of defaults may name them too.

    Args:
        config: composed, of a job that Hydra has started.
        conf: folder of the configuration.

    Raises:
        UserError: naming them.
    """
    hydra = HydraConfig.get()
    groups = ConfigFolders.from_job(conf).groups()
    if not any(group in config and group not in hydra.runtime.choices for group in groups):
        return  # of a list, Hydra tells no choice
    overrides = [*hydra.overrides.hydra, *given_arguments()]
    loader = GlobalHydra.instance().config_loader()
    chosen: dict[str, list[str]] = {}
    for default in loader.compute_defaults_list(hydra.job.config_name, overrides, RunMode.RUN).defaults:
        group, _, choice = (default.config_path or "").rpartition("/")
        if group in groups and default.package == group and not (default.parent or "").startswith(f"{group}/"):
            chosen.setdefault(group, []).append(choice)
    for group, names in chosen.items():
        if len(names) > 1:
            refuse_several(group, names)


def _composed(arguments: list[str], wrong_key: str, folders: ConfigFolders) -> DictConfig | None:
    """The configuration without the override of the wrong key, where it can be composed."""
    parser = OverridesParser.create()
    kept = []
    for argument in read_flags(arguments).overrides:
        if "=" not in argument:
            continue
        override = parser.parse_override(argument)
        if override.key_or_group != wrong_key and not override.is_sweep_override():
            kept.append(argument)
    return _compose(kept, folders)


def _compose(settings: list[str], folders: ConfigFolders) -> DictConfig | None:
    """The configuration; None where it can't be composed."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folders.main.absolute()), version_base="1.3"):
            return compose("config", overrides=[*settings, *folders.overrides])
    except Exception:  # whatever hostile text makes Hydra and OmegaConf raise
        return None
