"""The settings of ``conf/config.yaml`` itself, and the paths."""

from dataclasses import fields
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field, NonNegativeInt, TypeAdapter
from pydantic.dataclasses import dataclass

from secmi_exp.configuration.paths import refuse_empty
from secmi_exp.configuration.setting_errors import naming
from secmi_exp.configuration.setting_values import refuse_converted, refuse_impossible_values
from secmi_exp.configuration.user_path import UserPath
from secmi_exp.evaluation.gate import Limits
from secmi_exp.store import Verify
from secmi_exp.tracking.wandb_settings import Tag


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Evaluation:
    """How scores are judged."""

    bootstrap_rounds: Annotated[int, Field(gt=0, le=1_000_000)]
    low_fprs: list[Annotated[float, Field(gt=0, lt=1)]]
    delta: Annotated[float, Field(ge=0, lt=1)]
    blind: bool


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StoreSettings:
    """How the store is used; where it lies is among the paths."""

    verify: Verify


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Paths:
    """Where a run reads and writes; see conf/paths."""

    output: UserPath
    data: UserPath
    runs: UserPath
    sweeps: UserPath
    store: UserPath


@dataclass(frozen=True)
class General:
    """The settings of config.yaml itself, and the paths."""

    seed: NonNegativeInt
    group: str | None
    tags: list[Tag]
    evaluation: Evaluation
    gate: Limits
    store: StoreSettings
    paths: Paths

    @classmethod
    def from_config(cls, config: DictConfig) -> "General":
        """Read them.

        Raises:
            UserError: for a value that is of the wrong type or out of range.
        """
        with naming(""):
            refuse_empty(config)
            given = {each.name: resolved(config[each.name]) for each in fields(cls) if each.name in config}
        with naming("", given):
            general = TypeAdapter(cls).validate_python(given)
            refuse_impossible_values(given)
            refuse_converted(given, general, "")
        return general


def resolved(node: object) -> Any:
    """A node of a configuration as plain values, its interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
