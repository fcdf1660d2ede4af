"""Making the objects that a composed configuration names, with a user's mistakes explained in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from secmi_exp.attacks.attack import Attack, TargetFree
from secmi_exp.attacks.blind import Blind
from secmi_exp.attacks.scores_file import ScoresFile
from secmi_exp.configuration.general import General, resolved
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.configuration.setting_values import refuse_converted, refuse_impossible_values
from secmi_exp.data.canaries import Canaries, Mislabelled
from secmi_exp.data.dataset import Dataset
from secmi_exp.data.scored_images import ScoredImages
from secmi_exp.data.split import SplitRule
from secmi_exp.defenses.defense import Defense, Undefended
from secmi_exp.engine.launch import refuse_other_number
from secmi_exp.engine.runtime import Runtime
from secmi_exp.errors import UserError
from secmi_exp.evaluation.gate import TPR_AT
from secmi_exp.formatting import shown
from secmi_exp.quality.quality import Quality
from secmi_exp.store.class_identity import outside_classes
from secmi_exp.targets.interface import Target
from secmi_exp.tracking.tracker import MakeTracker

KINDS = {
    "dataset": Dataset,
    "split": SplitRule,
    "canaries": Canaries,
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
    canaries: Canaries | None
    defense: Defense
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
            canaries=component(config, "canaries") if "canaries" in config else None,
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
        self.split.check()
        self._check_defense()
        self._check_gate()
        if self.canaries:
            self.check_canaries(self.canaries)
        if isinstance(self.dataset, ScoredImages) and not isinstance(self.attack, ScoresFile):
            raise UserError(
                f"dataset={self.dataset.name} has no images, and is for +attack=scores attack.path=FILE: choose "
                "another dataset, such as dataset=digits."
            )
        for group, asking in (("attack", self.attack), ("quality", self.quality)):
            if asking:
                with naming("target"):
                    timesteps, space = self.target.timesteps, self.target.input_space
                with naming(group):
                    asking.check_space(space)
                    asking.check(timesteps)

    def _check_defense(self) -> None:
        """Refuse a defense without a training that it could act on."""
        with naming("target"):
            trained_here = self.target.trained_here
        if isinstance(self.defense, Undefended):
            return
        if not hasattr(self.target, "defense"):
            raise UserError(
                f"defense={self.defense.name} acts on the training of a DDPM, and target={self.target.name} has none "
                "that it could act on: leave one of them out."
            )
        if not trained_here:
            raise UserError(
                f"defense={self.defense.name} acts on a training, and target={self.target.name} is read from "
                "target.path, trained already: leave out defense or target.path."
            )

    def _check_gate(self) -> None:
        """Refuse limits that nothing will be compared with."""
        limits = self.general.gate.given
        if not limits:
            return
        if self.attack is None:
            raise UserError(f"gate.{next(iter(limits))} limits what an attack finds: add +attack=stat or another.")
        if isinstance(self.attack, Blind):
            raise UserError(
                f"attack={self.attack.name} never sees the target, so no limit of the gate can be judged by it: choose "
                "another attack; each run makes this check of its split anyway."
            )
        if "max_extracted" in limits and not self.attack.finds_copies:
            raise UserError(
                f"gate.max_extracted counts the members that the target's samples copy, and attack={self.attack.name} "
                "doesn't look for them: choose +attack=extraction, in a run of its own."
            )
        if "max_tpr_at_1pct" in limits and TPR_AT not in self.general.evaluation.low_fprs:
            raise UserError(
                f"gate.max_tpr_at_1pct needs {TPR_AT:g} in evaluation.low_fprs={self.general.evaluation.low_fprs}: add "
                "it."
            )

    def check_canaries(self, canaries: Canaries) -> None:
        """Refuse what canaries can't be used with.

        Raises:
            UserError: naming the setting to change.
        """
        if isinstance(self.attack, TargetFree):
            raise UserError(
                f"canaries={canaries.name} are inserted into the training of a target, and attack={self.attack.name} "
                "queries none: leave one of them out."
            )
        if self.quality:
            raise UserError(
                f"quality is measured on the attacked images, and these are canaries={canaries.name}: leave one of "
                "them out."
            )
        if isinstance(canaries, Mislabelled) and "labels" not in self.target.conditions:
            raise UserError(
                f"canaries=mislabelled have wrong class labels, and target={self.target.name} takes none: choose "
                "another kind, or a target with labels, such as target=ddpm_small_labelled."
            )
