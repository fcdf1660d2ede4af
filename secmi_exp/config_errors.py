"""Mistakes in a command line or configuration, each told in one sentence that lists what exists."""

import difflib
import errno
import re
import traceback
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from secmi_exp.arguments import choices, given_arguments, literal_dollars, quoted, refuse_several
from secmi_exp.errors import UserError, first_line

UNUSABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip
"""Why a file can't be used that its owner can mend."""


PLUGINS = {"hydra/launcher": "launchers", "hydra/sweeper": "search", "hydra/sweeper/sampler": "search"}
"""Groups whose choices come with packages of their own → our extra that brings them."""


def explain(error: Exception, arguments: list[str], conf: Path) -> str | None:
    """The sentence for a mistake of the user's; None for any other exception.

    Args:
        error: what was raised.
        arguments: of the command line.
        conf: folder of the configuration.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in UNUSABLE:
        return f"{error.filename or 'A file'} can't be written or read ({error.strerror}): check paths.output."
    if isinstance(error, MissingConfigException):
        return _missing_choice(error, conf)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _bad_override(str(error), arguments, conf)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):  # swept or a preset's
        return f"A group is set to what is no name of a choice ({first_line(error)})."
    if _of_search(error):
        return f"Optuna has ended the search: {first_line(error)}."
    return None


def _of_search(error: Exception) -> bool:
    """Whether Optuna, or Hydra's plugin for it, has raised an exception, rather than a job of the search."""
    packages = [frame.f_globals["__name__"].partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "optuna" in packages or packages[-1:] == ["hydra_plugins"]


def _missing_choice(error: MissingConfigException, conf: Path) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    if group in PLUGINS:
        others = f"choose one of {', '.join(error.options)}, or " if error.options else ""
        return (
            f"There is no {group} '{choice}' here: {others}get Hydra's plugins by "
            f"pip install 'secmi-exp[{PLUGINS[group]}]'."
        )
    if error.options:
        return f"There is no {group} '{choice}': choose one of {', '.join(error.options)}."
    groups = sorted(folder.name for folder in conf.iterdir() if folder.is_dir())
    return f"There is no config group '{group or choice}': choose one of {', '.join(groups)}."


def _bad_override(message: str, arguments: list[str], conf: Path) -> str:
    first = message.splitlines()[0].rstrip(".")
    named = re.search(r"[Cc]ould not (?:override|append(?: to)?|delete) '([^']+)'", message)
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'", first):
        return _several_values(several[1], conf)
    if named is None:
        return f"The command line can't be read: {first}{literal_dollars(arguments)}."
    key = named[1].split("@")[0].split("=")[0]
    if (conf / key).is_dir() and "Could not delete" in message:
        return f"No {named[1]} is chosen that could be left out."
    if (conf / key).is_dir() and "No match in the defaults list" in message:
        return f"{key} is added rather than overridden: write +{key}=…, with one of {', '.join(choices(conf / key))}."
    known = _composed(arguments, key, conf)
    if known is None:
        return f"{first}."
    node, path = known, key.split(".")
    for depth, name in enumerate(path):
        place = ".".join(path[:depth])
        if name not in node:
            return _no_such_key(name, place, [str(each) for each in node if not str(each).startswith("_")])
        child = OmegaConf.select(node, name)
        if not isinstance(child, DictConfig):
            return f"{place}.{name} holds a value, so {key} can't be set: set {place}.{name} itself."
        node = child
    return f"{first}."


def _several_values(argument: str, conf: Path) -> str:
    sweep = f"{argument} is several values, which -m sweeps over"
    if (conf / argument.lstrip("+").partition("=")[0]).is_dir():
        return f"{sweep}: write `-m {argument}`."
    return f"{sweep}; if it is one, quote it: {quoted(argument)}."


def _no_such_key(name: str, place: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(name, keys, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    where = f"in {place}" if place else "at the top level"
    return f"There is no key '{name}' {where}{hint}: choose one of {', '.join(sorted(keys))}."


def refuse_unread_keys(config: DictConfig, conf: Path) -> None:
    """Refuse what `+KEY=…` has put at the top level and nothing reads.

    Raises:
        UserError: naming the key and those that exist.
    """
    read = {str(key) for key in OmegaConf.load(conf / "config.yaml")} - {"defaults", "hydra"}
    read |= {folder.name for folder in conf.iterdir() if folder.is_dir()}
    for key in config:
        if key not in read:
            raise UserError(_no_such_key(str(key), "", sorted(read)))


def refuse_merged_choices(config: DictConfig, conf: Path) -> None:
    """Refuse several choices of one group, wherever they come from: a preset's list of defaults may name them too.

    Args:
        config: composed, of a job that Hydra has started.
        conf: folder of the configuration.

    Raises:
        UserError: naming them.
    """
    hydra = HydraConfig.get()
    groups = {folder.name for folder in conf.iterdir() if folder.is_dir()}
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


def _composed(arguments: list[str], wrong_key: str, conf: Path) -> DictConfig | None:
    """The configuration without the override of the wrong key, where it can be composed."""
    parser = OverridesParser.create()
    kept = []
    for argument in arguments:
        if argument.startswith("-") or "=" not in argument:
            continue
        override = parser.parse_override(argument)
        if override.key_or_group != wrong_key and not override.is_sweep_override():
            kept.append(argument)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf.absolute()), version_base="1.3"):
            return compose("config", overrides=kept)
    except (HydraException, OmegaConfBaseException):
        return None
