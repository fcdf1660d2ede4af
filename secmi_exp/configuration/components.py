"""Making the objects that a composed configuration names, with a user's mistakes explained in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from secmi_exp.attacks.attack import Attack
from secmi_exp.attacks.scores_file import ScoresFile
from secmi_exp.configuration.general import General, resolved
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.configuration.setting_values import refuse_converted, refuse_impossible_values
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.scored_images import ScoredImages
from secmi_exp.data.split import SplitRule
from secmi_exp.defenses.settings import DefenseSettings, Undefended
from secmi_exp.engine.launch import refuse_other_number
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.formatting import shown
from secmi_exp.quality.quality import Quality
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import Target
from secmi_exp.tracking.tracker import MakeTracker

KINDS = {
    "dataset": Dataset,
    "split": SplitRule,
    "defense": DefenseSettings,
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
        given = resolved(config[group])
    with naming(group, given):
        made = instantiate(config[group], _convert_="all")
        refuse_other_kind(made, group, given)
        refuse_impossible_values(given, group)
        refuse_converted(given, made, group)
    return made


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


@dataclass(frozen=True)
class Components:
    """All components of a run, checked before anything is computed."""

    general: General
    dataset: Dataset
    split: SplitRule
    defense: DefenseSettings
    target: Target
    runtime: Runtime
    make_tracker: MakeTracker
    attack: Attack | None
    quality: Quality | None

    @classmethod
    def from_config(cls, config: DictConfig) -> "Components":
        """Instantiate every group.

        Raises:
            UserError: for a value that its group refuses.
        """
        parts = cls(
            general=General.from_config(config),
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
        if isinstance(self.dataset, ScoredImages) and not isinstance(self.attack, ScoresFile):
            raise UserError(
                f"dataset={self.dataset.name} has no images, and is for +attack=scores attack.path=FILE: choose "
                "another dataset, such as dataset=digits."
            )
        for group, asking in (("attack", self.attack), ("quality", self.quality)):
            if asking:
                with naming("target"):
                    timesteps = self.target.timesteps
                with naming(group):
                    asking.check(timesteps)
