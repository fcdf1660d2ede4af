"""From a composed configuration to the objects that its groups name, with a user's mistakes told in a sentence."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pydantic.dataclasses
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from secmi_exp import ranks
from secmi_exp.arguments import given_arguments, literal_dollars, typed_otherwise
from secmi_exp.attacks.attack import Attack
from secmi_exp.class_identity import outside_classes
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.split import SplitRule
from secmi_exp.defenses.defense import Defense, Undefended
from secmi_exp.errors import UserError
from secmi_exp.quality.quality import Quality
from secmi_exp.runtime import Runtime
from secmi_exp.store import Verify
from secmi_exp.targets.interface import Target
from secmi_exp.tracking.tracker import MakeTracker
from secmi_exp.tracking.wandb_settings import Tag


def component(config: DictConfig, group: str) -> Any:
    """Instantiate one config group.

    Raises:
        UserError: naming the key, what was expected, and the value seen.
    """
    if not isinstance(config.get(group), DictConfig) or "_target_" not in config[group]:
        raise UserError(f"{group} names no component: choose one by {'+' if group == 'attack' else ''}{group}=….")
    try:
        return instantiate(config[group], _convert_="all")
    except (InstantiationException, ValidationError, OmegaConfBaseException) as error:
        raise UserError(_sentence(error, group)) from error


def store_folder(config: DictConfig) -> Path:
    """Where the store is.

    Raises:
        UserError: for a name that the command line has typed as something else, such as a number.
    """
    try:
        return TypeAdapter(Path).validate_python(config.paths.store)
    except ValidationError as error:
        raise UserError(_refused(error, "paths.store")) from error


def _sentence(error: Exception, group: str) -> str:
    cause = error if isinstance(error, ValidationError) else error.__cause__
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(cause, ValidationError):
        return _refused(cause, _place(str(error), group))
    reason = str(cause or error).splitlines()[0].rstrip(".")
    missing = re.fullmatch(r"Missing mandatory value: (\S+)", reason)
    if missing:
        return f"{missing[1]} has no default: add {missing[1]}=… to the command line."
    return f"The configuration of {group} can't be used: {reason}{literal_dollars(given_arguments())}."


def _refused(error: ValidationError, place: str) -> str:
    first = error.errors()[0]
    key = ".".join([*([place] if place else []), *(str(part) for part in first["loc"])])
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} has been left out, and nothing stands in for it: set it again."
    if first["type"] in ("string_type", "path_type"):
        return f"{typed_otherwise(key, first['input'], given_arguments())}."
    return f"{key}={first['input']!r} can't be used: {first['msg'][0].lower()}{first['msg'][1:]}."


def _place(message: str, group: str) -> str:
    """The key of the node that failed, which Hydra names in its message's last line."""
    last = message.splitlines()[-1]
    return last.removeprefix("full_key: ") if last.startswith("full_key: ") else group


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Evaluation:
    """How scores are judged."""

    bootstrap_rounds: PositiveInt
    low_fprs: list[Annotated[float, Field(gt=0, lt=1)]]
    delta: Annotated[float, Field(ge=0, lt=1)]
    blind: bool


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StoreSettings:
    """How the store is used; where it lies is among the paths."""

    verify: Verify


@pydantic.dataclasses.dataclass(frozen=True)
class General:
    """The settings of config.yaml itself."""

    seed: NonNegativeInt
    group: str | None
    tags: list[Tag]
    evaluation: Evaluation
    store: StoreSettings

    @classmethod
    def of(cls, config: DictConfig) -> "General":
        """Read them.

        Raises:
            UserError: for a value that is of the wrong type or out of range.
        """
        values = {each.name: config[each.name] for each in fields(cls)}
        try:
            return TypeAdapter(cls).validate_python(OmegaConf.to_container(OmegaConf.create(values), resolve=True))
        except ValidationError as error:
            raise UserError(_refused(error, "")) from error


@dataclass(frozen=True)
class Components:
    """All that a run is made of, checked before anything is computed."""

    general: General
    dataset: Dataset
    split: SplitRule
    defense: Defense
    target: Target
    runtime: Runtime
    make_tracker: MakeTracker
    attack: Attack | None
    quality: Quality | None

    @classmethod
    def of(cls, config: DictConfig) -> "Components":
        """Instantiate every group.

        Raises:
            UserError: for a value that its group refuses.
        """
        parts = cls(
            general=General.of(config),
            dataset=component(config, "dataset"),
            split=component(config, "split"),
            defense=component(config, "defense"),  # before the target, so that a mistake is named as its own
            target=component(config, "target"),
            runtime=component(config, "trainer"),
            make_tracker=component(config, "logger"),
            attack=component(config, "attack") if "attack" in config else None,
            quality=component(config, "quality") if "quality" in config else None,
        )
        outside_classes(dataset=parts.dataset, defense=parts.defense, target=parts.target)  # notes their sources
        if parts.attack:  # now, as files may be edited while a target is being trained
            outside_classes(attack=parts.attack, **parts.attack.scorers)
        ranks.refuse_other_number(parts.runtime.devices, parts.runtime.nodes)
        if not isinstance(parts.defense, Undefended) and not hasattr(parts.target, "defense"):
            raise UserError(
                f"defense={parts.defense.name} acts on the training of a DDPM, and target={parts.target.name} has none "
                "that it could act on: leave one of them out."
            )
        for asking in (parts.attack, parts.quality):
            if asking:
                asking.check(parts.target.timesteps)
        return parts
