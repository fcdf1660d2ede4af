"""Query attacks that are plain functions: a YAML file names the function and its settings, and nothing else is needed.

```python
def score_norm(batch: QueryBatch, *, t: Timestep) -> dict[str, Tensor]:
    return {"score_norm": norm(batch.predict_noise(batch.x_0, t), 2)}
```
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_args

from pydantic import ConfigDict, ImportString, ValidationError, create_model
from pydantic.dataclasses import dataclass

from secmi_exp.attacks.signals.query_attack import QueryAttack
from secmi_exp.attacks.signals.query_batch import TIMESTEP, QueryBatch
from secmi_exp.configuration.setting_errors import refused
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.formatting import shown
from secmi_exp.store.class_identity import function_identity
from secmi_exp.torch_on_use import Tensor, torch


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FunctionAttack(QueryAttack):
    """Its values are those that a function returns for a batch: name → [B].

    The function gets a `QueryBatch`, and its settings as keyword arguments, which are validated against their types;
    those of type `Timestep`, or lists of them, are compared with the target's schedule, too. It computes no gradients.
    """

    version: ClassVar[int] = 1

    function: ImportString[Callable[..., Mapping[str, Tensor]]]
    """Such as ``my_package.my_module.my_function``."""
    settings: dict[str, Any]
    """Name → value of its keyword arguments."""

    def __post_init__(self) -> None:
        """Validate the settings.

        Raises:
            UserError: naming the first that is unknown, missing, or of another type.
        """
        fields: dict[str, Any] = {
            each.name: (
                Any if each.annotation is each.empty else each.annotation,
                ... if each.default is each.empty else each.default,
            )
            for each in self._parameters
        }
        model = create_model("Settings", __config__=ConfigDict(extra="forbid"), **fields)
        try:
            validated = model(**self.settings)
        except ValidationError as error:
            raise UserError(refused(error, "attack.settings", self.settings)) from error
        object.__setattr__(self, "settings", {name: getattr(validated, name) for name in fields})

    @property
    def _parameters(self) -> list[inspect.Parameter]:
        """The function's keyword arguments."""
        parameters = list(inspect.signature(self.function, eval_str=True).parameters.values())
        if not parameters or parameters[0].kind == inspect.Parameter.KEYWORD_ONLY:
            raise UserError(f"attack.function={self._name} takes no batch: its first parameter must be a QueryBatch.")
        for each in parameters:
            if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
                raise UserError(f"attack.function={self._name} takes {each}: name each setting as a parameter.")
        return parameters[1:]

    @property
    def _name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def queried_timesteps(self) -> dict[str, int]:
        """See `QueryAttack.queried_timesteps`."""
        timesteps = {}
        for each in self._parameters:
            setting = self.settings[each.name]
            if TIMESTEP in get_args(each.annotation):
                timesteps[f"settings.{each.name}"] = setting
            elif setting and any(TIMESTEP in get_args(inner) for inner in get_args(each.annotation)):
                timesteps[f"settings.{each.name}"] = max(setting)
        return timesteps

    def key_config(self) -> dict[str, Json]:
        """See `QueryAttack.key_config`; the source of the function's module decides."""
        return {"attack": function_identity(self.function), "settings": self.settings}

    def query(self, batch: QueryBatch) -> Mapping[str, Tensor]:
        """Call the function.

        Raises:
            UserError: unless it returns a number for each image under each name.
        """
        values = self.function(batch, **self.settings)
        shape = (len(batch.x_0),)
        if not (isinstance(values, Mapping) and values) or not all(
            isinstance(each, torch.Tensor) and each.shape == shape for each in values.values()
        ):
            raise UserError(
                f"attack.function={self._name} must return a dictionary, name → a tensor with one number for each "
                f"image of the batch, and has returned {shown(_described(values))}."
            )
        return values


def _described(values: object) -> object:
    """Return what a function has returned, with the shapes of tensors in their place."""
    if isinstance(values, Mapping):
        return {name: _described(each) for name, each in values.items()}
    return f"a tensor of shape {[*values.shape]}" if isinstance(values, torch.Tensor) else values
