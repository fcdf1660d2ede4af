"""From a composed configuration to the objects that its groups name, with a user's mistakes told in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pydantic.dataclasses
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field, NonNegativeInt, TypeAdapter

from secmi_exp.attacks.attack import Attack
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.configuration.setting_values import refuse_converted, refuse_impossible_values
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.split import SplitRule
from secmi_exp.defenses.defense import Defense, Undefended
from secmi_exp.engine import ranks
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.formatting import shown
from secmi_exp.quality.quality import Quality
from secmi_exp.store import Verify
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import Target
from secmi_exp.tracking.tracker import MakeTracker
from secmi_exp.tracking.wandb_settings import Tag

KINDS = {
    "dataset": Dataset,
    "split": SplitRule,
    "defense": Defense,
    "trainer": Runtime,
    "attack": Attack,
    "quality": Quality,
}
"""Group → class of its components. A target is whatever can be prepared, and a logger whatever can be called."""


def component(config: DictConfig, group: str) -> Any:
    """Instantiate one config group.

    Raises:
        UserError: naming the key, what was expected, and the value seen.
    """
    if not isinstance(config.get(group), DictConfig) or "_target_" not in config[group]:
        raise UserError(f"{group} names no component: choose one by {'+' if group == 'attack' else ''}{group}=….")
    with naming(group):
        given = _resolved(config[group])
    with naming(group, given):
        made = instantiate(config[group], _convert_="all")
        refuse_other_kind(made, group, given)
        refuse_impossible_values(given, group)
        refuse_converted(given, made, group)
    return made


def _resolved(node: object) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def refuse_other_kind(made: object, group: str, given: Mapping[str, Any]) -> None:
    """Refuse what is no component of its group.

    Raises:
        UserError: naming the class.
    """
    kind = KINDS.get(group)
    if not (isinstance(made, kind) if kind else callable(getattr(made, "prepare", made))):
        raise UserError(
            f"{group}._target_={shown(given.get('_target_'))} makes no {group}: see conf/{group} for what does."
        )


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Evaluation:
    """How scores are judged."""

    bootstrap_rounds: Annotated[int, Field(gt=0, le=1_000_000)]
    low_fprs: list[Annotated[float, Field(gt=0, lt=1)]]
    delta: Annotated[float, Field(ge=0, lt=1)]
    blind: bool


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StoreSettings:
    """How the store is used; where it lies is among the paths."""

    verify: Verify


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Paths:
    """Where a run reads and writes; see conf/paths."""

    output: Path
    data: Path
    runs: Path
    sweeps: Path
    store: Path


@pydantic.dataclasses.dataclass(frozen=True)
class General:
    """The settings of config.yaml itself, and the paths."""

    seed: NonNegativeInt
    group: str | None
    tags: list[Tag]
    evaluation: Evaluation
    store: StoreSettings
    paths: Paths

    @classmethod
    def of(cls, config: DictConfig) -> "General":
        """Read them.

        Raises:
            UserError: for a value that is of the wrong type or out of range.
        """
        with naming(""):
            given = {each.name: _resolved(config[each.name]) for each in fields(cls) if each.name in config}
        with naming("", given):
            general = TypeAdapter(cls).validate_python(given)
            refuse_impossible_values(given)
            refuse_converted(given, general, "")
        return general


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
        parts.check()
        return parts

    def check(self) -> None:
        """Refuse components that don't go together.

        Raises:
            UserError: naming their settings.
        """
        with naming("_target_"):  # classes from outside of this package: notes their sources
            outside_classes(dataset=self.dataset, defense=self.defense, target=self.target)
            if self.attack:  # now, as files may be edited while a target is being trained
                outside_classes(attack=self.attack, **self.attack.scorers)
        refuse_other_number(self.runtime.devices, self.runtime.nodes)
        if not isinstance(self.defense, Undefended) and not hasattr(self.target, "defense"):
            raise UserError(
                f"defense={self.defense.name} acts on the training of a DDPM, and target={self.target.name} has none "
                "that it could act on: leave one of them out."
            )
        for group, asking in (("attack", self.attack), ("quality", self.quality)):
            if asking:
                with naming("target"):
                    timesteps = self.target.timesteps
                with naming(group):
                    asking.check(timesteps)
